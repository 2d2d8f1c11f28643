/** Models, evaluations and settings. */

import { html, useState } from "../preact.js";
import { get, remove } from "../api.js";
import { date, t } from "../i18n.js";
import { Copy, ErrorBox, Loading, Status, usePolled, useTitle } from "../ui.js";

export function ModelsPage() {
  useTitle(t("models"));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const { data, error, reload } = usePolled(() => get("/models"), [], 10);
  const tuned = (data?.data ?? []).filter((/** @type {any} */ model) => model.id.startsWith("ft:"));
  const others = (data?.data ?? []).filter((/** @type {any} */ model) => !model.id.startsWith("ft:"));
  const drop = async (/** @type {string} */ id) => {
    if (!confirm(t("confirmDelete", { name: id }))) return;
    await remove(`/models/${encodeURIComponent(id)}`).catch(setFailure);
    reload();
  };
  const target = (/** @type {any} */ model) => html`${model.root ?? "–"}${model.shutdown_date ? html` <span class="muted">${t("until", { date: model.shutdown_date })}</span>` : ""}`;
  return html`<h1>${t("models")}</h1><${ErrorBox} error=${failure ?? error} onRetry=${reload} />${!data && !error && html`<${Loading} />`}
    ${data && html`<h2>${t("fineTuned")}</h2>
      ${tuned.length ? html`<table class="stack"><thead><tr><th>${t("model")}</th><th>${t("base")}</th><th>${t("created")}</th><th></th></tr></thead>
        <tbody>${tuned.map((/** @type {any} */ model) => html`<tr key=${model.id}><td class="id strong">${model.id} <${Copy} text=${model.id} /></td><td class="muted">${target(model)}</td>
          <td class="muted">${date(model.created)}</td><td class="actions"><a href=${`#/playground?model=${encodeURIComponent(model.id)}`}>${t("tryIt")}</a>
            <a href=${`#/new-job?model=${encodeURIComponent(model.id)}`}>${t("continueFrom")}</a>
            <button class="small ghost bad" onClick=${() => drop(model.id)}>${t("remove")}</button></td></tr>`)}</tbody></table>` : html`<p class="empty">${t("noTuned")}</p>`}
      <h2>${t("available")}</h2><table class="stack"><thead><tr><th>${t("model")}</th><th>${t("standsFor")}</th><th>${t("owner")}</th></tr></thead>
        <tbody>${others.map((/** @type {any} */ model) => html`<tr key=${model.id}><td class="id">${model.id}</td><td class="muted">${target(model)}</td><td class="muted">${model.owned_by}</td></tr>`)}</tbody></table>`}`;
}

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

/** @param {{ language: string, theme: string, onLanguage: (value: any) => void, onTheme: (value: string) => void, onSignOut?: () => void }} props */
export function SettingsPage({ language, theme, onLanguage, onTheme, onSignOut }) {
  useTitle(t("settings"));
  const { data: version } = usePolled(async () => (await fetch("/health")).json(), []);
  return html`<h1>${t("settings")}</h1><section class="card narrow">
    <label>${t("language")}<select value=${language} onChange=${(/** @type {any} */ event) => onLanguage(event.target.value)}><option value="en">English</option><option value="zh">中文</option></select></label>
    <label>${t("theme")}<select value=${theme} onChange=${(/** @type {any} */ event) => onTheme(event.target.value)}>${["system", "light", "dark"].map((name) => html`<option value=${name}>${t(name)}</option>`)}</select></label>
    <p>${t("serverVersion")}: Luthier ${version?.version}</p><p class="muted">${t("keyNote")}</p>
    ${onSignOut && html`<button class="ghost" onClick=${onSignOut}>${t("signOut")}</button>`}</section>`;
}
