/** A new job, step by step: data with its report and estimate, base model and method, settings. */

import { html, useEffect, useState } from "../preact.js";
import { ApiError, get, post, upload } from "../api.js";
import { currentLanguage, duration, number, t } from "../i18n.js";
import { ErrorBox, usePolled, useTitle } from "../ui.js";
import { Finding, Histogram, ReportSummary } from "./file.js";

const SHOWN_FINDINGS = 8;

/** @param {{ query: URLSearchParams }} props */
export function NewJobPage({ query }) {
  useTitle(t("newJob"));
  const [file, setFile] = useState(/** @type {any} */ (null));
  const [validation, setValidation] = useState("");
  const [model, setModel] = useState(query.get("model") ?? "gpt-4o-mini");
  const [values, setValues] = useState({ n_epochs: "", batch_size: "", learning_rate_multiplier: "", suffix: "", seed: "" });
  const [busy, setBusy] = useState("");
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [note, setNote] = useState("");
  const { data: files, reload } = usePolled(() => get("/files", { purpose: "fine-tune", limit: 200 }), []);
  const { data: limits } = usePolled(() => get("/fine_tuning/model_limits"), []);
  const path = file && `/luthier/files/${file.id}`;
  const { data: report, error: reportError } = usePolled(() => (path ? get(`${path}/report`) : Promise.resolve(undefined)), [file?.id, currentLanguage()]);
  const { data: estimate, error: estimateError } = usePolled(() => (path ? get(`${path}/estimate`, { model, n_epochs: values.n_epochs || undefined }) : Promise.resolve(undefined)), [file?.id, model, values.n_epochs]);
  const asked = query.get("file");
  useEffect(() => { if (asked) get(`/files/${encodeURIComponent(asked)}`).then(setFile, setError); }, [asked]);

  const attempt = async (/** @type {string} */ what, /** @type {() => Promise<void>} */ act) => {
    setBusy(what); setError(null); setNote("");
    try { await act(); } catch (failure) { setError(/** @type {Error} */ (failure)); }
    setBusy("");
  };
  const choose = (/** @type {any} */ chosen) => { setFile(chosen); setValidation(""); };
  const send = (/** @type {File | undefined} */ chosen) => chosen && attempt(t("uploading", { name: chosen.name }), async () => {
    choose(await upload(chosen, "fine-tune"));
    reload();
  });
  const split = () => attempt(t("checking"), async () => {
    const parts = await post(`${path}/split`, { validation: 0.2 });
    setFile(parts.training_file); setValidation(parts.validation_file.id);
    setNote(t("splitDone", { train: parts.training_examples, valid: parts.validation_examples }));
    reload();
  });
  const repair = () => attempt(t("checking"), async () => {
    const repaired = await post(`${path}/repair`);
    if (repaired.file) choose(repaired.file);
    setNote(t("repaired", { n: repaired.repaired, rejected: repaired.rejected }));
    reload();
  });
  const start = () => attempt(t("start"), async () => {
    const hyperparameters = Object.fromEntries(["n_epochs", "batch_size", "learning_rate_multiplier"].map((name) =>
      [name, values[/** @type {"n_epochs"} */ (name)] === "" ? "auto" : Number(values[/** @type {"n_epochs"} */ (name)])]));
    const method = report.method === "dpo" ? { type: "dpo", dpo: { hyperparameters } } : { type: "supervised", supervised: { hyperparameters } };
    const job = await post("/fine_tuning/jobs", {
      model, training_file: file.id, method, ...(validation && { validation_file: validation }),
      ...(values.suffix && { suffix: values.suffix }), ...(values.seed !== "" && { seed: Number(values.seed) }),
    });
    location.hash = `#/job/${job.id}`;
  });
  const field = (/** @type {keyof typeof values} */ name, /** @type {string} */ label, /** @type {any} */ attributes) =>
    html`<label>${label}<input placeholder=${t("auto")} value=${values[name]} ...${attributes}
      onInput=${(/** @type {any} */ event) => setValues({ ...values, [name]: event.target.value })} /></label>`;
  const names = Object.keys(limits ?? { [model]: null });
  const others = (files?.data ?? []).filter((/** @type {any} */ entry) => entry.id !== file?.id);
  return html`<p class="crumbs"><a href="#/jobs">${t("jobs")}</a></p><h1>${t("newJob")}</h1>
    <section class="card"><h2>${t("fileStep")}</h2>
      <${Drop} onFile=${send} />
      <label>${t("orUploaded")}<select value=${file?.id ?? ""} onChange=${(/** @type {any} */ event) =>
        choose(files.data.find((/** @type {any} */ entry) => entry.id === event.target.value) ?? null)}>
        <option value=""></option>${(files?.data ?? []).map((/** @type {any} */ entry) => html`<option value=${entry.id}>${entry.filename} (${entry.id.slice(-4)})</option>`)}</select></label>
      ${busy && html`<p role="status" class="muted">${busy}</p>`}
      <${ErrorBox} error=${error ?? reportError} />
      ${note && html`<div class="notice good" role="status">${note}</div>`}
      ${file && !report && !reportError && html`<p role="status" class="muted">${t("checking")}</p>`}
      ${file && report && html`<h3><a href=${`#/file/${file.id}`}>${file.filename}</a></h3><${ReportSummary} report=${report} />
        ${report.findings.filter((/** @type {any} */ finding) => finding.line !== null).slice(0, SHOWN_FINDINGS).map((/** @type {any} */ finding) => html`<${Finding} finding=${finding} />`)}
        ${report.findings.length > SHOWN_FINDINGS && html`<a href=${`#/file/${file.id}?findings=1`}>${t("seeFile")}</a>`}
        <div class="actions">${!report.ok && html`<button class="ghost" onClick=${repair}>${t("repair")}</button>`}
          ${report.ok && !validation && html`<button class="ghost" onClick=${split}>${t("splitOff")}</button>`}</div>
        <${Estimate} estimate=${estimate} error=${estimateError} />
        <label>${t("validationFile")}<select value=${validation} onChange=${(/** @type {any} */ event) => setValidation(event.target.value)}>
          <option value="">${t("none")}</option>${others.map((/** @type {any} */ entry) => html`<option value=${entry.id}>${entry.filename} (${entry.id.slice(-4)})</option>`)}</select></label>`}
    </section>
    <section class="card"><h2>${t("modelStep")}</h2>
      <label>${t("base")}<select value=${model} onChange=${(/** @type {any} */ event) => setModel(event.target.value)}>
        ${[...new Set([model, ...names])].map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
      <${Abilities} model=${model} />
      ${report && html`<p>${t("method")} <strong>${t(report.method === "dpo" ? "dpo" : "supervised")}</strong></p>`}</section>
    <section class="card"><h2>${t("settingsStep")}</h2><p class="muted">${t("autoHint")}</p><div class="grid">
      ${field("n_epochs", t("epochs"), { type: "number", min: 1, max: 50 })}
      ${field("batch_size", t("batchSize"), { type: "number", min: 1, max: 256 })}
      ${field("learning_rate_multiplier", t("learningRate"), { type: "number", min: 0, step: "any" })}
      ${field("seed", t("seed"), { type: "number", min: 0 })}
      ${field("suffix", t("suffix"), { maxlength: 64, placeholder: t("nameHint") })}</div>
      <button disabled=${!report?.ok || Boolean(busy)} onClick=${start}>${t("start")}</button></section>`;
}

/** @param {{ onFile: (file: File | undefined) => void }} props */
function Drop({ onFile }) {
  const [over, setOver] = useState(false);
  const stop = (/** @type {boolean} */ value) => (/** @type {Event} */ event) => { event.preventDefault(); setOver(value); };
  const drop = (/** @type {DragEvent} */ event) => { event.preventDefault(); setOver(false); onFile(event.dataTransfer?.files[0]); };
  return html`<label class=${over ? "drop over" : "drop"} onDragOver=${stop(true)} onDragLeave=${stop(false)} onDrop=${drop}>${t("dropFile")}
    <span class="button small">${t("chooseFile")}</span><input class="hidden" type="file" accept=".jsonl" onChange=${(/** @type {any} */ event) => onFile(event.target.files[0])} /></label>`;
}

/** What the base model that a name stands for can do. @param {{ model: string }} props */
function Abilities({ model }) {
  const { data, error } = usePolled(() => get(`/luthier/models/${encodeURIComponent(model)}/abilities`), [model, currentLanguage()]);
  if (error instanceof ApiError && error.code === "base_model_unavailable") return html`<p class="muted">${t("baseNotHere")}</p>`;
  if (error || !data) return html`<${ErrorBox} error=${error} />`;
  if (data.unusable) return html`<div class="notice bad">${t("baseUnusable", { reason: data.unusable })}</div>`;
  const rows = [{ code: "base", name: t("standsFor"), text: data.base }, ...data.abilities, { code: "licence", name: t("licence"), text: data.licence ?? "–" }];
  return html`<dl class="facts">${rows.map(({ code, name, text }) => html`<div key=${code}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`;
}

/** @param {{ estimate: any, error: Error | null }} props */
function Estimate({ estimate, error }) {
  if (error) return html`<${ErrorBox} error=${error} />`;
  if (!estimate) return null;
  const prices = Object.entries(estimate.openai_usd).filter(([name]) => ["gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1"].includes(name));
  return html`<h3>${t("estimate")}</h3><dl class="facts">
      <div><dt>${t("duration")}</dt><dd>${estimate.seconds ? duration(estimate.seconds) : html`<span class="muted">${t("unknownUntilJob")}</span>`}</dd></div>
      <div><dt>${t("tokens")} × ${t("epochs")}</dt><dd>${number(estimate.tokens)} × ${estimate.n_epochs} = ${number(estimate.trained_tokens)}</dd></div>
      <div><dt>${t("base")}</dt><dd>${estimate.base}</dd></div>
      <div><dt>${t("openaiPrice")}${estimate.openai_n_epochs === estimate.n_epochs ? "" : ` (${t("epochs")}: ${estimate.openai_n_epochs})`}</dt><dd>${prices.map(([name, usd]) => html`<div>${name}: $${Number(usd).toFixed(2)}</div>`)}</dd></div></dl>
    <${Histogram} values=${estimate.tokens_histogram} />`;
}
