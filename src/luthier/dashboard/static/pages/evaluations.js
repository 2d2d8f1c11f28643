/** The list of evaluations. */

import { html } from "../preact.js";
import { get } from "../api.js";
import { date, t } from "../i18n.js";
import { ErrorBox, Loading, Status, usePolled, useTitle } from "../ui.js";

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
        <td class="muted">${run.filename ?? run.validation_file ?? "–"}</td><td class="muted">${date(run.created_at)}</td></tr>`)}</tbody></table>`}`;
}

/** A score with its 95 % interval on a line from 0 to 1. @param {{ headline: any }} props */
function Interval({ headline }) {
  const { figure, value, low, high, n } = headline;
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`;
  return html`<strong>${percent(value)}</strong> <span class="muted">${figure}, ${percent(low)}–${percent(high)}, n = ${n}</span>
    <svg class="interval" viewBox="0 0 100 8" aria-hidden="true"><line x1="0" y1="4" x2="100" y2="4" /><line class="range" x1=${100 * low} y1="4" x2=${100 * high} y2="4" />
      <circle cx=${100 * value} cy="4" r="3.5" /></svg>`;
}
