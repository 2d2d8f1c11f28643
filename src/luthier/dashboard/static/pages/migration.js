/** How far each model of a hosted account has come: recorded, retrained, switched; and the days that are left. */

import { html } from "../preact.js";
import { get } from "../api.js";
import { number, t } from "../i18n.js";
import { ErrorBox, Loading, Status, usePolled, useTitle } from "../ui.js";

const URGENT_DAYS = 60;

/** @param {{ done: boolean, children?: any }} props */
const Step = ({ done, children }) => html`<span class=${done ? "status succeeded" : "status"}>${t(done ? "done" : "open")}</span> ${children}`;

export function MigrationPage() {
  useTitle(t("migration"));
  const { data, error, reload } = usePolled(async () => {
    const server = await get("/luthier/server");
    return server.caller.role === "admin" ? get("/luthier/migration") : null;
  }, [], 15);
  if (data === undefined) return html`<h1>${t("migration")}</h1>${error ? html`<${ErrorBox} error=${error} onRetry=${reload} />` : html`<${Loading} />`}`;
  if (data === null) return html`<h1>${t("migration")}</h1><p class="empty">${t("adminsOnly")}</p>`;
  const dated = data.data.filter((/** @type {any} */ model) => model.days_left !== null && model.days_left >= 0);
  const count = (/** @type {(model: any) => boolean} */ holds) => `${number(data.data.filter(holds).length)} / ${number(data.data.length)}`;
  return html`<h1>${t("migration")}</h1><${ErrorBox} error=${error} onRetry=${reload} />
    ${!data.recorded && html`<div class="empty"><p>${t("noRecording")}</p><pre>luthier migrate record --out recording${"\n"}luthier serve --recording recording</pre></div>`}
    ${data.recorded && html`<section class="card"><dl class="facts">
        <div><dt>${t("daysLeft")}</dt><dd>${dated.length ? number(Math.min(...dated.map((/** @type {any} */ model) => model.days_left))) : "–"}</dd></div>
        <div><dt>${t("recorded")}</dt><dd>${count(isRecorded)}</dd></div>
        <div><dt>${t("retrained")}</dt><dd>${count((model) => Boolean(model.successor))}</dd></div>
        <div><dt>${t("switched")}</dt><dd>${count((model) => model.switched)}</dd></div></dl>
      <p class="muted">${data.provider} · ${t("updated")} ${data.updated_at ?? "–"}</p></section>
      <table class="stack"><thead><tr><th>${t("model")}</th><th>${t("daysLeft")}</th><th>${t("recorded")}</th><th>${t("retrained")}</th><th>${t("switched")}</th></tr></thead>
      <tbody>${data.data.map((/** @type {any} */ model) => html`<tr key=${model.model}>
        <td><span class="id strong">${model.model}</span><div class="muted">${model.base ?? "–"}</div></td>
        <td><span class=${model.days_left !== null && model.days_left < URGENT_DAYS ? "urgent" : ""}>${model.days_left ?? "–"}</span> <span class="muted">${model.shutdown_date ?? ""}</span></td>
        <td><${Step} done=${isRecorded(model)} /><div class="muted">${t("answersOf", { n: number(model.answered), total: number(model.questions) })}${model.files ? "" : ` · ${t("noTrainingFile")}`}</div></td>
        <td>${model.job ? html`<${Status} status=${model.status} /> <a class="id" href=${`#/job/${model.job}`}>${model.successor ?? model.job}</a>`
          : html`<${Step} done=${false} />`}</td>
        <td><${Step} done=${model.switched}>${model.switched && model.share < 1 ? `${number(Math.round(100 * model.share))} %` : ""}<//></td></tr>`)}</tbody></table>`}`;
}

/** Whether nothing of a model is left to record. @param {any} model */
const isRecorded = (model) => model.questions > 0 && model.answered >= model.questions;
