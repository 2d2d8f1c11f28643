/** The curves of a job, alone or beside those of other jobs, with what their settings differ in. */

import { html, useMemo, useState } from "../preact.js";
import { get } from "../api.js";
import { t } from "../i18n.js";
import { usePolled } from "../ui.js";
import { Chart } from "../chart.js";
import { POINTS } from "./job_updates.js";
import { jobName } from "./jobs.js";

const MAX_OVERLAID = 5;
const COLORS = ["#2563eb", "#d97706", "#059669"];
const OTHER_COLORS = ["#9333ea", "#dc2626", "#0891b2", "#4d7c0f", "#be185d"];
const DASHES = [[6, 4], [2, 3], undefined];
const LOSSES = ["train_loss", "valid_loss", "full_valid_loss"];
const ACCURACIES = ["train_mean_token_accuracy", "valid_mean_token_accuracy", "full_valid_mean_token_accuracy"];
const COLUMNS = ["step", "value", "minimum", "maximum"];

/** @typedef {import("./job_updates.js").Metrics} Metrics */

/** The whole run, with every step of a part of it. @param {Metrics} whole @param {Metrics} part @param {[number, number]} range */
function refined(whole, part, [first, last]) {
  return Object.fromEntries(Object.entries(whole).map(([name, columns]) => {
    const fine = part[name] ?? { step: [], value: [], minimum: [], maximum: [] };
    const kept = (/** @type {string} */ column, /** @type {(step: number) => boolean} */ holds) =>
      columns[column].filter((_, index) => holds(columns.step[index]));
    return [name, Object.fromEntries(COLUMNS.map((column) =>
      [column, [...kept(column, (step) => step < first), ...fine[column], ...kept(column, (step) => step > last)]]))];
  }));
}

/** Metrics of jobs, at every step of `range` where it is set. @param {Record<string, Metrics>} wholes @param {[number, number] | null} range */
function useRefined(wholes, range) {
  const coarse = Object.keys(wholes).filter((id) => isCoarse(wholes[id]));
  const { data } = usePolled(async () => {
    if (!range) return null;
    const [first, last] = range;
    const parts = await Promise.all(coarse.map(async (id) =>
      [id, (await get(`/luthier/jobs/${id}/metrics`, { points: POINTS, after: first - 1, until: last })).series]));
    return { range, parts: Object.fromEntries(parts) };
  }, [range?.join(), coarse.join()]);
  return useMemo(() => Object.fromEntries(Object.entries(wholes).map(([id, whole]) => {
    const isRead = range && data && data.range.join() === range.join() && data.parts[id];
    return [id, isRead ? refined(whole, data.parts[id], range) : whole];
  })), [data, range?.join(), ...Object.values(wholes)]);
}

/** Whether a point stands for several steps. @param {Metrics} series */
const isCoarse = (series) => Object.values(series).some(({ step }) => step[step.length - 1] > 1.5 * step.length && step.length > POINTS / 2);

/** @param {Metrics} series @param {string[]} names @param {number | null} other place among the other jobs @param {string} prefix @returns {any[]} */
function curvesOf(series, names, other, prefix) {
  return names.flatMap((name, index) => (series[name] ? [{
    label: prefix + t(name), color: other === null ? COLORS[index] : OTHER_COLORS[other % OTHER_COLORS.length],
    points: name.startsWith("full"), dash: other === null ? undefined : DASHES[index], ...series[name],
  }] : []));
}

/** @param {{ series: Metrics, checkpoints: any[], best: any, view: any }} props */
export function Curves({ series, checkpoints, best, view }) {
  const [names, setNames] = useState(LOSSES);
  const [smoothing, setSmoothing] = useState(0);
  const [logX, setLogX] = useState(false);
  const [logY, setLogY] = useState(false);
  const [zoomKey, setZoomKey] = useState(0);
  const [range, setRange] = useState(/** @type {[number, number] | null} */ (null));
  const [others, setOthers] = useState(/** @type {any[]} */ ([]));
  const hasCurve = Object.keys(series).length > 0;  // what may be overlaid is read once it is drawn
  const { data: jobs } = usePolled(async () => (hasCurve ? get("/luthier/jobs", { limit: 200, points: 1 }) : null), [hasCurve]);
  const { data: overlaid } = usePolled(async () => Object.fromEntries(await Promise.all(others.map(async ({ id }) =>
    [id, (await get(`/luthier/jobs/${id}/metrics`, { points: POINTS })).series]))), [others.map(({ id }) => id).join()]);
  const wholes = { [view.id]: series };
  for (const { id } of others) if (overlaid?.[id]) wholes[id] = overlaid[id];
  const shown = useRefined(wholes, range);
  const curves = useMemo(() => [view, ...others].flatMap(({ id }, index) =>
    curvesOf(shown[id] ?? {}, names, index === 0 ? null : index - 1, index === 0 ? "" : `${jobName(others[index - 1])} · `)), [shown, names, others]);
  const choices = (jobs?.data ?? []).filter((/** @type {any} */ other) => other.id !== view.id && other.progress && !others.some(({ id }) => id === other.id));
  const marks = checkpoints.map((entry) => ({ step: entry.step_number, best: entry === best }));
  const last = Math.max(1, ...Object.values(series).map(({ step }) => step[step.length - 1]));
  const whole = () => { setRange(null); setZoomKey(zoomKey + 1); };
  const check = (/** @type {string} */ label, /** @type {boolean} */ value, /** @type {(value: boolean) => void} */ set) =>
    html`<label class="check"><input type="checkbox" checked=${value} onChange=${() => set(!value)} /> ${t(label)}</label>`;
  const edge = (/** @type {string} */ label, /** @type {0 | 1} */ end) => html`<${StepInput} label=${t(label)} last=${last} value=${range ? range[end] : end ? last : 1}
    onStep=${(/** @type {number} */ step) => setRange((current) => {  // the other end may have been typed just before
      const [first, final] = current ?? [1, last];
      return end ? [Math.min(first, step), step] : [step, Math.max(final, step)];
    })} />`;
  const add = (/** @type {any} */ event) => {
    setOthers([...others, ...choices.filter((/** @type {any} */ other) => other.id === event.target.value)]);
    event.target.value = "";
  };
  if (!hasCurve) return html`<p class="empty">${t(view.job.finished_at ? "noStep" : "noCurve")}</p>`;
  return html`<div class="toolbar">
      <div role="group" class="tabs">
        <button class=${names === LOSSES ? "tab on" : "tab"} aria-pressed=${names === LOSSES} onClick=${() => setNames(LOSSES)}>${t("lossCurve")}</button>
        <button class=${names === ACCURACIES ? "tab on" : "tab"} aria-pressed=${names === ACCURACIES} onClick=${() => setNames(ACCURACIES)}>${t("accuracyCurve")}</button></div>
      <label class="check">${t("smoothing")} <input type="range" min="0" max="0.98" step="0.02" value=${smoothing}
        onInput=${(/** @type {any} */ event) => setSmoothing(Number(event.target.value))} /></label>
      ${check("logX", logX, setLogX)}${check("logY", logY, setLogY)}
      ${edge("fromStep", 0)}${edge("toStep", 1)}
      <button class="small ghost" onClick=${whole}>${t("resetZoom")}</button>
      ${others.length < MAX_OVERLAID && html`<select aria-label=${t("compareWith")} value="" onChange=${add}>
        <option value="">${t("compareWith")}</option>
        ${choices.map((/** @type {any} */ other) => html`<option value=${other.id}>${jobName(other)} (${other.id.slice(-4)})</option>`)}</select>`}
      ${others.map((other) => html`<button key=${other.id} class="small ghost chip" aria-label=${`${t("hide")} ${jobName(other)}`}
        onClick=${() => setOthers(others.filter(({ id }) => id !== other.id))}>${jobName(other)} ×</button>`)}</div>
    ${curves.length ? html`<${Chart} curves=${curves} smoothing=${smoothing} logX=${logX} logY=${logY} marks=${marks} zoomKey=${zoomKey}
        range=${range} onRange=${setRange} />
      <p class="muted hint">${t("zoomHint")}</p>`
      : html`<p class="empty">${t("notRecorded")}</p>`}
    ${others.length > 0 && html`<${Differences} views=${[view, ...others]} />`}`;
}

/** A step that is typed; what is being typed outlives a new drawing of the page. @param {{ label: string, value: number, last: number, onStep: (step: number) => void }} props */
function StepInput({ label, value, last, onStep }) {
  const [typed, setTyped] = useState(/** @type {string | null} */ (null));
  const finish = () => {
    if (typed !== null) onStep(Math.min(last, Math.max(1, Math.round(Number(typed)) || 1)));
    setTyped(null);
  };
  return html`<label class="check">${label} <input class="step" type="number" min="1" max=${last} value=${typed ?? value}
    onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} onChange=${finish} /></label>`;
}

/** @type {Record<string, string>} */
const SETTING_TEXTS = { n_epochs: "epochs", batch_size: "batchSize", learning_rate_multiplier: "learningRate" };

/** A hyperparameter as the form of a new job calls it. @param {string} name */
export const settingName = (name) => (name in SETTING_TEXTS ? t(SETTING_TEXTS[name]) : name);

/** @param {Record<string, any>} hyperparameters */
const named = (hyperparameters) => Object.fromEntries(Object.entries(hyperparameters).map(([name, value]) => [settingName(name), value]));

/** @param {any} job */
const settingsOf = (job) => ({
  [t("model")]: job.model, [t("method")]: t(job.method.type), ...named(job.hyperparameters), [t("seed")]: job.seed,
  [t("trainingFile")]: job.training_file, [t("validationFile")]: job.validation_file ?? t("none"), ...job.metadata,
});

/** @param {{ views: any[] }} props */
function Differences({ views }) {
  const settings = views.map(({ job }) => settingsOf(job));
  const all = [...new Set(settings.flatMap((entry) => Object.keys(entry)))];
  const names = all.filter((name) => settings.some((entry) => entry[name] !== settings[0][name]));
  if (!names.length) return html`<p class="muted">${t("sameSettings")}</p>`;
  return html`<h3>${t("differs")}</h3><div class="wide" tabindex="0"><table><thead><tr><th><span class="unseen">${t("settings")}</span></th>
      ${views.map((view, index) => html`<th>${index ? html`<a href=${`#/job/${view.id}`}>${jobName(view)}</a>` : t("thisJob")}</th>`)}</tr></thead>
    <tbody>${names.map((name) => html`<tr><th scope="row">${name}</th>${settings.map((entry) => html`<td>${String(entry[name] ?? "–")}</td>`)}</tr>`)}</tbody></table></div>`;
}
