/** Parts that several pages share. */

import { html, useEffect, useRef, useState } from "./preact.js";
import { ApiError } from "./api.js";
import { t } from "./i18n.js";

/** @param {{ status: string }} props */
export const Status = ({ status }) => html`<span class=${`status ${status}`}>${t(status)}</span>`;

/** @param {{ error: Error | null, onRetry?: () => void }} props */
export function ErrorBox({ error, onRetry }) {
  if (!error) return null;
  const text = error instanceof ApiError && error.status === 0 ? t("noAnswer") : error.message;
  return html`<div class="notice bad" role="alert">${text}
    ${onRetry && html` <button class="small" onClick=${onRetry}>${t("retry")}</button>`}</div>`;
}

export const Loading = () => html`<p class="muted" role="status">${t("loading")}</p>`;

/** A line of losses without axes. @param {{ values: number[] }} props */
export function Sparkline({ values }) {
  if (values.length < 2) return null;
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const points = values.map((value, index) =>
    `${((index / (values.length - 1)) * 98 + 1).toFixed(1)},${(23 - ((value - low) / span) * 22).toFixed(1)}`);
  return html`<svg class="sparkline" viewBox="0 0 100 24" aria-hidden="true" preserveAspectRatio="none">
    <polyline points=${points.join(" ")} /></svg>`;
}

/** @param {{ share: number, label: string }} props */
export const Bar = ({ share, label }) => html`<progress max="1" value=${share} aria-label=${label}></progress>`;

/** @param {{ text: string }} props */
export function Copy({ text }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<button class="small ghost" onClick=${copy}>${t(copied ? "copied" : "copy")}</button>`;
}

/**
 * Calls `load` now, again after `seconds` while the page is visible, and whenever `keys` change. When `seconds` becomes 0
 * it is called one last time, so that what ended meanwhile is there to its end.
 * @template Result
 * @param {(isCurrent: () => boolean) => Promise<Result>} load `isCurrent`: whether no later call has taken its place
 * @param {unknown[]} keys
 * @param {number} [seconds] 0: once
 * @returns {{ data: Result | undefined, error: Error | null, reload: () => void }}
 */
export function usePolled(load, keys, seconds = 0) {
  const [state, setState] = useState(/** @type {any} */ ({ data: undefined, error: null }));
  const [round, setRound] = useState(0);
  const latest = useRef({ load, seconds, starts: 0 });
  const starts = latest.current.starts + Number(seconds > 0 && !latest.current.seconds);  // it is to be called again
  latest.current = { load, seconds, starts };
  useEffect(() => {
    let alive = true;
    /** @type {number | undefined} */
    let timer;
    const run = async () => {
      if (document.hidden) {
        document.addEventListener("visibilitychange", run, { once: true });
        return;
      }
      const isLast = !latest.current.seconds;
      try {
        const data = await latest.current.load(() => alive);
        if (alive) setState({ data, error: null });
      } catch (error) {
        if (alive) setState((/** @type {any} */ before) => ({ data: before.data, error }));
      }
      if (alive && !isLast) timer = setTimeout(run, latest.current.seconds * 1000);
    };
    run();
    return () => { alive = false; clearTimeout(timer); document.removeEventListener("visibilitychange", run); };
  }, [...keys, round, starts]);
  return { ...state, reload: () => setRound(round + 1) };
}

/** The last error of what a person did, and a function that tries something. @returns {[Error | null, (act: () => Promise<unknown>) => Promise<void>]} */
export function useAttempt() {
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const attempt = async (/** @type {() => Promise<unknown>} */ act) => {
    setFailure(null);
    try { await act(); } catch (error) { setFailure(/** @type {Error} */ (error)); }
  };
  return [failure, attempt];
}

/** @param {string} title */
export function useTitle(title) {
  useEffect(() => { document.title = `${title} · Luthier`; }, [title]);
}
