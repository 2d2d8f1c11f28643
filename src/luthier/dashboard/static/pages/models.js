/** Models: fine-tuned ones with their lineage, exports and permissions; base models and aliases. */

import { html, useState } from "../preact.js";
import { download, get, post, remove } from "../api.js";
import { bytes, currentLanguage, date, number, t } from "../i18n.js";
import { Copy, ErrorBox, Loading, Status, useAttempt, usePolled, useTitle } from "../ui.js";
import { settingName } from "./job_curves.js";

const TARGETS = ["peft", "merged", "gguf:q8_0", "gguf:q4_0", "gguf-lora", "ollama", "vllm"];

/** @param {any} model */
const target = (model) => html`${model.root ?? model.id}${model.shutdown_date ? html` <span class="muted">${t("until", { date: model.shutdown_date })}</span>` : ""}`;

/** Models with what they stand for in common. @param {any[]} models @returns {any[][]} */
function byTarget(models) {
  const groups = new Map();
  for (const model of models) {
    const key = JSON.stringify([model.root ?? model.id, model.owned_by, model.shutdown_date]);
    groups.set(key, [...(groups.get(key) ?? []), model]);
  }
  return [...groups.values()];
}

export function ModelsPage() {
  useTitle(t("models"));
  const { data, error, reload } = usePolled(() => get("/models"), [], 10);
  const [failure, attempt] = useAttempt();
  const tuned = (data?.data ?? []).filter((/** @type {any} */ model) => model.id.startsWith("ft:") && model.owned_by !== "upstream");
  const others = (data?.data ?? []).filter((/** @type {any} */ model) => !tuned.includes(model));
  const drop = (/** @type {string} */ id) => attempt(async () => {
    if (!confirm(t("confirmDelete", { name: id }))) return;
    await remove(`/models/${encodeURIComponent(id)}`);
    reload();
  });
  return html`<h1>${t("models")}</h1><${ErrorBox} error=${failure ?? error} onRetry=${reload} />${!data && !error && html`<${Loading} />`}
    ${data && html`<h2>${t("fineTuned")}</h2>
      ${tuned.length ? html`<table class="stack"><thead><tr><th>${t("model")}</th><th>${t("base")}</th><th>${t("created")}</th><th><span class="unseen">${t("actions")}</span></th></tr></thead>
        <tbody>${tuned.map((/** @type {any} */ model) => html`<tr key=${model.id}><td><a class="id strong" href=${`#/model/${encodeURIComponent(model.id)}`}>${model.id}</a> <${Copy} text=${model.id} /></td><td class="muted">${target(model)}</td>
          <td class="muted">${date(model.created)}</td><td class="actions"><a href=${`#/playground?model=${encodeURIComponent(model.id)}`}>${t("tryIt")}</a>
            <a href=${`#/new-job?model=${encodeURIComponent(model.id)}`}>${t("continueFrom")}</a>
            <button class="small ghost bad" aria-label=${`${t("remove")} ${model.id}`} onClick=${() => drop(model.id)}>${t("remove")}</button></td></tr>`)}</tbody></table>` : html`<div class="empty"><p>${t("noTuned")}</p><a class="button" href="#/new-job">${t("newJob")}</a></div>`}
      <h2>${t("available")}</h2><table class="stack"><thead><tr><th>${t("model")}</th><th>${t("names")}</th><th>${t("owner")}</th></tr></thead>
        <tbody>${byTarget(others).map((models) => html`<tr key=${models[0].id}><td class="id strong target">${target(models[0])}</td><td class="id">${models.map(({ id }) => id).join(", ")}</td>
          <td class="muted">${models[0].owned_by}</td></tr>`)}</tbody></table>`}`;
}

/** @param {{ id: string }} props */
export function ModelPage({ id }) {
  useTitle(id);
  const path = `/luthier/models/${encodeURIComponent(id)}`;
  const { data: lineage, error } = usePolled(() => get(`${path}/lineage`), [id]);
  const { data: server } = usePolled(() => get("/luthier/server"), []);
  const [failure, attempt] = useAttempt();
  const fetchIt = () => attempt(() => download(`${path}/content`, `${id.replace(/[^\w.-]+/g, "-")}.zip`));
  return html`<p class="crumbs"><a href="#/models">${t("models")}</a></p>
    <div class="head"><h1>${id}</h1><div class="actions"><${Copy} text=${id} />
      <a class="button" href=${`#/playground?model=${encodeURIComponent(id)}`}>${t("tryIt")}</a>
      <a class="button" href=${`#/new-job?model=${encodeURIComponent(id)}`}>${t("continueFrom")}</a>
      <button class="ghost" onClick=${fetchIt}>${t("downloadModel")}</button></div></div>
    <${ErrorBox} error=${failure ?? error} />${!lineage && !error && html`<${Loading} />`}
    ${lineage && html`<div class="columns"><section class="card"><h2>${t("lineage")}</h2><${Lineage} lineage=${lineage} /></section>
      <div><section class="card"><h2>${t("exports")}</h2><${Exports} path=${path} id=${id} hasHubId=${Boolean(lineage.base.hub_id)} /></section>
        ${server?.caller.role === "admin" && html`<section class="card"><h2>${t("sharing")}</h2><${Sharing} id=${id} /></section>`}</div></div>`}`;
}

/** What the model was made of and by. @param {{ lineage: any }} props */
function Lineage({ lineage }) {
  const { base, job, data, parents } = lineage;
  const files = data.map((/** @type {any} */ file) => [t(file.role === "training" ? "trainingFile" : "validationFile"), html`<a href=${`#/file/${file.file}`}>${file.filename ?? file.file}</a>
    <div class="muted id">${file.sha256 ? `SHA-256 ${file.sha256.slice(0, 16)}…` : ""}</div>`]);
  const settings = { ...job.hyperparameters, ...lineage.settings, ...job.metadata };
  const rows = [
    [t("job"), html`<a class="id" href=${`#/job/${job.id}`}>${job.id}</a>`],
    [t("base"), html`${base.hub_id || base.name.split("/").pop()}${base.licence ? html` <span class="muted">${base.licence}</span>` : ""}`],
    ...parents.map((/** @type {string} */ parent) => [t("continues"), html`<a class="id" href=${`#/model/${encodeURIComponent(parent)}`}>${parent}</a>`]),
    ...files, [t("method"), t(job.method)], [t("seed"), job.seed], [t("trainedTokens"), number(job.trained_tokens)],
    ...Object.entries(settings).map(([name, value]) => [settingName(name), String(value ?? "") || "–"]),
    ...Object.entries(lineage.metrics ?? {}).map(([name, value]) => [t(name), typeof value === "number" ? number(value) : String(value)]),
    [t("version"), lineage.code_version ?? "–"], [t("created"), date(lineage.created_at)],
  ];
  return html`<table><tbody>${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table>`;
}

/** @param {{ path: string, id: string, hasHubId: boolean }} props `hasHubId`: whether others can find the base model by its id */
function Exports({ path, id, hasHubId }) {
  const [to, setTo] = useState(TARGETS[0]);
  const [baseId, setBaseId] = useState("");
  const [live, setLive] = useState(false);
  const { data, error, reload } = usePolled(async () => {
    const listed = await get(`${path}/exports`);
    setLive(listed.data.some((/** @type {any} */ entry) => ["queued", "running"].includes(entry.status)));
    return listed;
  }, [path], live ? 2 : 0);
  const [failure, attempt] = useAttempt();
  const asksBaseId = to === "peft" && !hasHubId;
  const start = (/** @type {Event} */ event) => { event.preventDefault(); attempt(async () => { await post(`${path}/exports`, { to, ...(asksBaseId && { base_id: baseId.trim() }) }); reload(); }); };
  const drop = (/** @type {any} */ entry) => attempt(async () => {
    if (!confirm(t("confirmDelete", { name: `${entry.to} (${date(entry.created_at)})` }))) return;
    await remove(`${path}/exports/${entry.id}`);
    reload();
  });
  const fetchIt = (/** @type {any} */ entry) => attempt(() => download(`${path}/exports/${entry.id}/content`, `${`${id}-${entry.to}`.replace(/[^\w.-]+/g, "-")}.zip`));
  return html`<p class="muted">${t("exportText")}</p><form class="toolbar" onSubmit=${start}>
      <label class="check">${t("exportTo")} <select value=${to} onChange=${(/** @type {any} */ event) => setTo(event.target.value)}>${TARGETS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
      ${asksBaseId && html`<label class="check">${t("baseId")} <input class="text" required pattern="[\\w.\\-]+/[\\w.\\-]+" placeholder="organization/name" value=${baseId} onInput=${(/** @type {any} */ event) => setBaseId(event.target.value)} /></label>`}
      <button class="small">${t("startExport")}</button></form><${ErrorBox} error=${failure ?? error} />
    ${data?.data.length > 0 && html`<table><tbody>${data.data.map((/** @type {any} */ entry) => html`<tr key=${entry.id}><td><strong>${entry.to}</strong> <${Status} status=${entry.status === "running" ? "in_progress" : entry.status} />
        <div class="muted">${date(entry.created_at)}${entry.bytes === null ? "" : ` · ${bytes(entry.bytes)}`}</div>
        ${entry.stage && html`<div role="status">${t(entry.stage.stage, { name: entry.stage.name })}</div>`}
        ${entry.artefacts.map((/** @type {any} */ artefact) => html`<${Verification} artefact=${artefact} trained=${entry.trained_exact} />`)}
        ${entry.error && html`<pre class="finding error">${entry.error}</pre>`}</td>
      <td class="actions">${entry.status === "succeeded" && html`<button class="small ghost" onClick=${() => fetchIt(entry)}>${t("download")}</button>`}
        ${["succeeded", "failed"].includes(entry.status) && html`<button class="small ghost bad" onClick=${() => drop(entry)}>${t("remove")}</button>`}</td></tr>`)}</tbody></table>`}`;
}

/** What came out when an artefact was loaded in its own runtime. @param {{ artefact: any, trained: number }} props `trained`: exact answers after training */
function Verification({ artefact, trained }) {
  const name = artefact.type ?? artefact.form;
  if (artefact.failure) return null;  // the error of the export names it
  if (artefact.unverified) return html`<div class="finding"><strong>${name}</strong> ${t("notVerified", { reason: artefact.unverified })}</div>`;
  return html`<div class="finding good"><strong>${name}</strong> ${t("verified", {
    runtime: artefact.runtime, exact: artefact.exact, n: artefact.examples, trained, difference: artefact.mean_difference.toFixed(4),
  })}</div>`;
}

/** Projects that may call the model. @param {{ id: string }} props */
function Sharing({ id }) {
  const path = `/fine_tuning/checkpoints/${encodeURIComponent(id)}/permissions`;
  const [project, setProject] = useState("");
  const { data, error, reload } = usePolled(() => get(path, { limit: 100 }), [id]);
  const [failure, attempt] = useAttempt();
  const share = (/** @type {Event} */ event) => { event.preventDefault(); attempt(async () => { await post(path, { project_ids: [project.trim()] }); setProject(""); reload(); }); };
  const drop = (/** @type {string} */ permission) => attempt(async () => { await remove(`${path}/${permission}`); reload(); });
  return html`<p class="muted">${t("sharingText")}</p><form class="toolbar" onSubmit=${share}>
      <label class="check">${t("project")} <input class="text" required value=${project} onInput=${(/** @type {any} */ event) => setProject(event.target.value)} /></label>
      <button class="small">${t("share")}</button></form><${ErrorBox} error=${failure ?? error} />
    ${data?.data.length > 0 && html`<table><tbody>${data.data.map((/** @type {any} */ permission) => html`<tr key=${permission.id}><td class="id">${permission.project_id}</td>
      <td class="actions"><button class="small ghost bad" aria-label=${`${t("remove")} ${permission.project_id}`} onClick=${() => drop(permission.id)}>${t("remove")}</button></td></tr>`)}</tbody></table>`}`;
}
