/** A job: what it does, how it learns, what it left. */

import { html, useEffect, useMemo, useRef, useState } from "../preact.js";
import { get, post, request, save } from "../api.js";
import { clock, currentLanguage, date, number, t } from "../i18n.js";
import { Bar, Copy, ErrorBox, Loading, Status, usePolled, useTitle } from "../ui.js";
import { Chart } from "../chart.js";
import { jobName, queueText, timeText } from "./jobs.js";

const FINAL = ["succeeded", "failed", "cancelled"];
const POINTS = 1200;
const COLORS = ["#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2"];
const LOSSES = ["train_loss", "valid_loss", "full_valid_loss"];
const ACCURACIES = ["train_mean_token_accuracy", "valid_mean_token_accuracy", "full_valid_mean_token_accuracy"];

/**
 * The curves of a job: all of them once, then what is new; all of them again when they have twice the points.
 * @param {string} id @param {boolean} live
 */
function useMetrics(id, live) {
  const known = useRef(/** @type {any} */ ({ series: {}, last: 0, size: 0 }));
  useEffect(() => { known.current = { series: {}, last: 0, size: 0 }; }, [id]);
  const { data } = usePolled(async () => {
    const before = known.current;
    const whole = before.size > 2 * POINTS;
    const { series } = await get(`/luthier/jobs/${id}/metrics`, { points: POINTS, after: whole ? 0 : before.last });
    known.current = whole ? summary(series) : summary(joined(before.series, series));
    return known.current.series;
  }, [id, live], live ? 2 : 0);
  return data ?? {};
}

/** @param {any} series */
function summary(series) {
  const columns = /** @type {any[]} */ (Object.values(series));
  return {
    series,
    last: Math.max(0, ...columns.map((column) => column.step.at(-1))),
    size: Math.max(0, ...columns.map((column) => column.step.length)),
  };
}

/** @param {any} before @param {any} added */
function joined(before, added) {
  const names = new Set([...Object.keys(before), ...Object.keys(added)]);
  return Object.fromEntries([...names].map((name) => {
    if (!added[name]) return [name, before[name]];
    const columns = ["step", "value", "minimum", "maximum"];
    return [name, Object.fromEntries(columns.map((column) => [column, [...(before[name]?.[column] ?? []), ...added[name][column]]]))];
  }));
}

/** Messages of a job, the newest first; only new ones are fetched. @param {string} id @param {boolean} live */
function useMessages(id, live) {
  const known = useRef(/** @type {any[]} */ ([]));
  useEffect(() => { known.current = []; }, [id, currentLanguage()]);
  const { data } = usePolled(async () => {
    for (;;) {
      const page = await get(`/luthier/jobs/${id}/events`, { after: known.current[0]?.id, limit: 200, lang: currentLanguage() });
      known.current = [...page.data.reverse(), ...known.current];
      if (!page.has_more) return known.current;
    }
  }, [id, live, currentLanguage()], live ? 3 : 0);
  return data ?? [];
}

/** @param {any} series @param {string[]} names @param {number} color @param {string} prefix @returns {import("../chart.js").Curve[]} */
function curvesOf(series, names, color, prefix) {
  return names.flatMap((name, index) => (series[name] ? [{
    label: prefix + t(name), color: COLORS[(color + index) % COLORS.length], points: name.startsWith("full"),
    dash: prefix ? [6, 4] : undefined, ...series[name],
  }] : []));
}

/** The checkpoint with the lowest full validation loss. @param {any[]} checkpoints */
function bestOf(checkpoints) {
  const measured = checkpoints.filter((entry) => Number.isFinite(entry.metrics.full_valid_loss));
  return measured.sort((one, other) => one.metrics.full_valid_loss - other.metrics.full_valid_loss)[0];
}

/** @param {any} series */
function RisingNotice({ series }) {
  const full = series.full_valid_loss;
  if (!full || full.value.length < 2) return null;
  const low = Math.min(...full.value), last = full.value.at(-1);
  if (last <= low * 1.02) return null;
  const step = full.step[full.value.indexOf(low)];
  return html`<div class="notice">${t("validationRises", { step, low: low.toFixed(3), last: last.toFixed(3) })}</div>`;
}

/** @param {{ id: string }} props */
export function JobPage({ id }) {
  const [live, setLive] = useState(true);
  const { data: view, error, reload } = usePolled(() => get(`/luthier/jobs/${encodeURIComponent(id)}`, { lang: currentLanguage() }), [id, live, currentLanguage()], live ? 2 : 0);
  const { data: checkpoints } = usePolled(() => get(`/fine_tuning/jobs/${encodeURIComponent(id)}/checkpoints`, { limit: 100 }), [id, live], live ? 5 : 0);
  const series = useMetrics(id, live);
  const messages = useMessages(id, live);
  useTitle(view ? jobName(view) : t("job"));
  const status = view?.job.status;
  useEffect(() => { if (FINAL.includes(status)) setLive(false); }, [status]);
  if (!view) return error ? html`<${ErrorBox} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  const { job } = view;
  const best = bestOf([...(checkpoints?.data ?? [])]);
  return html`<p class="crumbs"><a href="#/jobs">${t("jobs")}</a></p>
    <div class="head"><h1>${jobName(view)} <${Status} status=${job.status} /></h1><${Actions} job=${job} onDone=${reload} /></div>
    <p class="muted id">${job.id} <${Copy} text=${job.id} /></p>
    <${ErrorBox} error=${error} onRetry=${reload} />
    <${State} view=${view} />
    <section class="card"><${Curves} series=${series} checkpoints=${checkpoints?.data ?? []} best=${best} id=${id} job=${job} /></section>
    <${RisingNotice} series=${series} />
    <div class="columns">
      <section class="card"><h2>${t("checkpoints")}</h2><${Checkpoints} checkpoints=${checkpoints?.data ?? []} best=${best} /></section>
      <section class="card"><h2>${t("hyperparameters")}</h2><${Settings} view=${view} /></section>
    </div>
    <section class="card"><h2>${t("events")}</h2><ol class="events" tabindex="0" aria-label=${t("events")}>${messages.map((/** @type {any} */ event) =>
      html`<li key=${event.id} class=${event.level}><time>${clock(event.created_at)}</time> <span>${event.message}</span></li>`)}</ol></section>`;
}

/** Whether it is running, when it is done, what went wrong. @param {{ view: any }} props */
function State({ view }) {
  const { job, progress, queue } = view;
  if (job.status === "failed") {
    const file = job.error?.param === "validation_file" ? job.validation_file : job.training_file;
    return html`<div class="notice bad"><strong>${t("failure")}</strong><p class="message">${view.failure}</p>
      ${/file/.test(`${job.error?.param} ${job.error?.code}`) && html`<a href=${`#/file/${file}?findings=1`}>${t("seeFile")}</a>`}</div>`;
  }
  if (job.fine_tuned_model && job.status === "succeeded") {
    return html`<div class="notice good"><span class="id strong">${job.fine_tuned_model}</span> <${Copy} text=${job.fine_tuned_model} />
      <a class="button small" href=${`#/playground?model=${encodeURIComponent(job.fine_tuned_model)}`}>${t("useModel")}</a>
      <span class="muted">${timeText(job)}</span></div>`;
  }
  if (queue) return html`<div class="notice">${queueText(queue)}</div>`;
  if (!progress) return job.status === "running" ? html`<div class="notice" role="status">${t("starting")}</div>` : null;
  const { step, total_steps: total } = progress;
  return html`<div class="progress wide"><${Bar} share=${step / total} label=${t("stepOf", { step, total })} />
    <span>${t("stepOf", { step, total })}</span> <span class="muted">${timeText(job)}</span></div>`;
}

/** @param {{ job: any, onDone: () => void }} props */
function Actions({ job, onDone }) {
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const act = async (/** @type {string} */ verb) => {
    if (verb === "cancel" && !confirm(t("confirmCancel"))) return;
    setError(null);
    await post(`/fine_tuning/jobs/${job.id}/${verb}`).catch(setError);
    onDone();
  };
  const button = (/** @type {string} */ verb, style = "ghost") => html`<button class=${style} onClick=${() => act(verb)}>${t(verb)}</button>`;
  return html`<div class="actions"><${ErrorBox} error=${error} />
    ${["queued", "running"].includes(job.status) && button("pause")}
    ${job.status === "paused" && button("resume", "")}
    ${!FINAL.includes(job.status) && button("cancel", "ghost bad")}</div>`;
}

/** @param {{ series: any, checkpoints: any[], best: any, id: string, job: any }} props */
function Curves({ series, checkpoints, best, id, job }) {
  const [names, setNames] = useState(LOSSES);
  const [smoothing, setSmoothing] = useState(0);
  const [logX, setLogX] = useState(false);
  const [logY, setLogY] = useState(false);
  const [zoomKey, setZoomKey] = useState(0);
  const [otherId, setOtherId] = useState("");
  const { data: jobs } = usePolled(() => get("/luthier/jobs", { limit: 100 }), [], 0);
  const { data: other } = usePolled(() => (otherId ? get(`/luthier/jobs/${otherId}/metrics`, { points: POINTS }) : Promise.resolve(null)), [otherId], 0);
  const curves = useMemo(() => [
    ...curvesOf(series, names, 0, ""),
    ...(other ? curvesOf(other.series, names, 3, `${otherId.slice(-4)} · `) : []),
  ], [series, names, other, otherId]);
  const others = (jobs?.data ?? []).filter((/** @type {any} */ view) => view.id !== id && view.progress);
  const otherJob = others.find((/** @type {any} */ view) => view.id === otherId)?.job;
  const marks = checkpoints.map((entry) => ({ step: entry.step_number, best: entry === best }));
  const check = (/** @type {string} */ label, /** @type {boolean} */ value, /** @type {(value: boolean) => void} */ set) =>
    html`<label class="check"><input type="checkbox" checked=${value} onChange=${() => set(!value)} /> ${t(label)}</label>`;
  return html`<div class="toolbar">
      <div role="group" class="tabs">
        <button class=${names === LOSSES ? "tab on" : "tab"} aria-pressed=${names === LOSSES} onClick=${() => setNames(LOSSES)}>${t("lossCurve")}</button>
        <button class=${names === ACCURACIES ? "tab on" : "tab"} aria-pressed=${names === ACCURACIES} onClick=${() => setNames(ACCURACIES)}>${t("accuracyCurve")}</button></div>
      <label class="check">${t("smoothing")} <input type="range" min="0" max="0.98" step="0.02" value=${smoothing}
        onInput=${(/** @type {any} */ event) => setSmoothing(Number(event.target.value))} /></label>
      ${check("logX", logX, setLogX)}${check("logY", logY, setLogY)}
      <button class="small ghost" onClick=${() => setZoomKey(zoomKey + 1)}>${t("resetZoom")}</button>
      <select aria-label=${t("compareWith")} value=${otherId} onChange=${(/** @type {any} */ event) => setOtherId(event.target.value)}>
        <option value="">${t("compareWith")}</option>
        ${others.map((/** @type {any} */ view) => html`<option value=${view.id}>${jobName(view)} (${view.id.slice(-4)})</option>`)}</select></div>
    ${curves.length ? html`<${Chart} curves=${curves} smoothing=${smoothing} logX=${logX} logY=${logY} marks=${marks} zoomKey=${zoomKey} />
      <p class="muted hint">${t("zoomHint")}</p>` : html`<p class="empty">${t("noCurve")}</p>`}
    ${otherJob && html`<${Differences} job=${job} other=${otherJob} />`}`;
}

/** @param {any} job */
const settingsOf = (job) => ({
  [t("model")]: job.model, [t("method")]: job.method.type, ...job.hyperparameters, [t("seed")]: job.seed,
  [t("trainingFile")]: job.training_file, [t("validationFile")]: job.validation_file ?? t("none"), ...job.metadata,
});

/** @param {{ job: any, other: any }} props */
function Differences({ job, other }) {
  const one = settingsOf(job), two = settingsOf(other);
  const names = [...new Set([...Object.keys(one), ...Object.keys(two)])].filter((name) => one[name] !== two[name]);
  if (!names.length) return html`<p class="muted">${t("sameSettings")}</p>`;
  return html`<h3>${t("differs")}</h3><table><thead><tr><th></th><th>${t("thisJob")}</th><th>${other.id.slice(-4)}</th></tr></thead>
    <tbody>${names.map((name) => html`<tr><th scope="row">${name}</th><td>${String(one[name] ?? "–")}</td><td>${String(two[name] ?? "–")}</td></tr>`)}</tbody></table>`;
}

/** @param {{ checkpoints: any[], best: any }} props */
function Checkpoints({ checkpoints, best }) {
  if (!checkpoints.length) return html`<p class="muted">${t("noCheckpoints")}</p>`;
  const loss = (/** @type {any} */ entry) => entry.metrics.full_valid_loss ?? entry.metrics.valid_loss ?? entry.metrics.train_loss;
  return html`<table><tbody>${checkpoints.map((entry) => html`<tr key=${entry.id}>
    <td>${t("step")} ${entry.step_number} ${entry === best && html`<span class="status succeeded">${t("best")}</span>`}
      <div class="muted id">${entry.fine_tuned_model_checkpoint}</div></td>
    <td class="number">${loss(entry)?.toFixed(4)}</td>
    <td><a href=${`#/playground?model=${encodeURIComponent(entry.fine_tuned_model_checkpoint)}`}>${t("tryIt")}</a><br />
      <a href=${`#/new-job?model=${encodeURIComponent(entry.fine_tuned_model_checkpoint)}`}>${t("continueFrom")}</a></td></tr>`)}</tbody></table>`;
}

/** @param {{ view: any }} props */
function Settings({ view }) {
  const { job } = view;
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const file = (/** @type {string | null} */ fileId) => (fileId ? html`<a class="id" href=${`#/file/${fileId}`}>${fileId}</a>` : t("none"));
  const results = async (/** @type {string} */ fileId) => {
    try {
      const content = await (await request(`/files/${fileId}/content`)).text();
      save(/^[A-Za-z0-9+/=\s]+$/.test(content) ? Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)) : content, `${job.id}.csv`);
    } catch (failure) { setError(/** @type {Error} */ (failure)); }
  };
  const rows = [
    [t("base"), view.base], [t("model"), job.model], [t("method"), t(job.method.type)],
    ...Object.entries(job.hyperparameters), [t("seed"), job.seed],
    [t("trainingFile"), file(job.training_file)], [t("validationFile"), file(job.validation_file)],
    ...Object.entries(job.metadata ?? {}), [t("trainedTokens"), number(job.trained_tokens)],
    [t("created"), date(job.created_at)], [t("finished"), date(job.finished_at)],
  ];
  return html`<${ErrorBox} error=${error} /><table><tbody>${rows.map(([name, value]) =>
    html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table>
    ${job.result_files.map((/** @type {string} */ fileId) => html`<button class="small ghost" onClick=${() => results(fileId)}>${t("resultFile")}</button>`)}`;
}
