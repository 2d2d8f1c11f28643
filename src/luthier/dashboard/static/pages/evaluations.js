/** Evaluations of models on held-out examples, and evals with their runs. */

import { html } from "../preact.js";
import { get } from "../api.js";
import { date, t } from "../i18n.js";
import { ErrorBox, Loading, Status, usePolled, useTitle } from "../ui.js";

const SHOWN_EVALS = 10, SHOWN_RUNS = 5;  // the newest

export function EvaluationsPage() {
  useTitle(t("evaluations"));
  const { data, error, reload } = usePolled(() => get("/evaluations", { limit: 100 }), [], 5);
  return html`<h1>${t("evaluations")}</h1><${ErrorBox} error=${error} onRetry=${reload} />${!data && !error && html`<${Loading} />`}
    ${data && !data.data.length && html`<p class="empty">${t("noEvaluations")}</p>`}
    ${data?.data.length > 0 && html`<table class="stack"><thead><tr><th>${t("model")}</th><th>${t("status")}</th><th>${t("score")}</th><th>${t("validationFile")}</th><th>${t("created")}</th></tr></thead>
      <tbody>${data.data.map((/** @type {any} */ run) => html`<tr key=${run.id}>
        <td><span class="id strong">${run.model}</span>${run.against.length > 0 && html`<div class="muted id">↔ ${run.against.join(", ")}</div>`}</td>
        <td><${Status} status=${run.status} /> ${run.status === "in_progress" && html`<span class="muted">${run.done}/${run.total}</span>`}
          ${run.error && html`<div class="finding error">${run.error.message}</div>`}</td>
        <td>${run.headline && html`<${Interval} headline=${run.headline} />`}</td>
        <td class="muted">${run.filename ?? run.validation_file ?? "–"}</td><td class="muted">${date(run.created_at)}</td></tr>`)}</tbody></table>`}
    <${Evals} />`;
}

/** @param {any} entry an eval @param {string} id @returns {string} the name that its criterion was given */
const criterionName = (entry, id) => entry.testing_criteria.find((/** @type {any} */ criterion) => criterion.id === id)?.name ?? id;

/** Evals of OpenAI's API, each with its newest runs. */
function Evals() {
  const { data, error, reload } = usePolled(async () => {
    const { data: evals } = await get("/evals", { limit: SHOWN_EVALS, order: "desc" });
    return Promise.all(evals.map(async (/** @type {any} */ entry) => ({ ...entry, runs: (await get(`/evals/${entry.id}/runs`, { limit: SHOWN_RUNS, order: "desc" })).data })));
  }, [], 20);
  return html`<h2>${t("evals")}</h2><${ErrorBox} error=${error} onRetry=${reload} />${!data && !error && html`<${Loading} />`}
    ${data && !data.length && html`<p class="empty">${t("noEvals")}</p>`}
    ${(data ?? []).map((/** @type {any} */ entry) => html`<section class="card" key=${entry.id}><h3 class="id strong">${entry.name || entry.id}</h3>
      <p class="muted">${entry.testing_criteria.map((/** @type {any} */ criterion) => criterion.name).join(", ")}</p>
      ${entry.runs.length ? html`<table class="stack"><tbody>${entry.runs.map((/** @type {any} */ run) => html`<tr key=${run.id} id=${run.id}>
        <td><span class="strong">${run.name || run.id}</span><div class="muted id">${run.model}</div></td>
        <td><${Status} status=${run.status} />${run.error?.message && html`<div class="finding error">${run.error.message}</div>`}</td>
        <td>${t("passed", { passed: run.result_counts.passed, total: run.result_counts.total })}${run.result_counts.errored > 0 && html` <span class="muted">${t("errored", { n: run.result_counts.errored })}</span>`}
          ${run.per_testing_criteria_results.length > 1 && run.per_testing_criteria_results.map((/** @type {any} */ result) => html`<div class="muted id">${criterionName(entry, result.testing_criteria)}: ${result.passed}/${result.passed + result.failed}</div>`)}</td>
        <td class="muted">${date(run.created_at)}</td></tr>`)}</tbody></table>` : html`<p class="muted">${t("noRuns")}</p>`}</section>`)}`;
}

/** A score with its 95 % interval on a line from 0 to 1. @param {{ headline: any }} props */
function Interval({ headline }) {
  const { figure, value, low, high, n } = headline;
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`;
  return html`<strong>${percent(value)}</strong> <span class="muted">${figure}, ${percent(low)}–${percent(high)}, n = ${n}</span>
    <svg class="interval" viewBox="0 0 100 8" aria-hidden="true"><line x1="0" y1="4" x2="100" y2="4" /><line class="range" x1=${100 * low} y1="4" x2=${100 * high} y2="4" />
      <circle cx=${100 * value} cy="4" r="3.5" /></svg>`;
}
