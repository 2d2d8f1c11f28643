/** A training file: its report, its lines with their findings, and the tokens that are trained. */

import { html, useState } from "../preact.js";
import { download, get, post, remove } from "../api.js";
import { bytes, currentLanguage, number, t } from "../i18n.js";
import { ErrorBox, Loading, useAttempt, usePolled, useTitle } from "../ui.js";
import { Conversation, Tokens } from "../conversation.js";

const PAGE = 20;
const ANY_FINDING = "*";
const SHOWN_REPAIRS = 20;
const CONTEXT = 40, MAX_CHANGE = 600;  // characters around a change, and of it

/** @param {{ values: { bars: number[], min: number, max: number } | null }} props */
export function Histogram({ values }) {
  if (!values) return null;
  const most = Math.max(...values.bars, 1);
  return html`<figure class="histogram"><svg viewBox="0 0 200 40" role="img" aria-label=${t("tokens")}>${values.bars.map((count, index) =>
    html`<rect x=${index * 20 + 1} y=${40 - (count / most) * 38} width="18" height=${(count / most) * 38}><title>${count}</title></rect>`)}</svg>
    <figcaption class="muted"><span>${number(values.min)}</span><span>${t("tokens")}</span><span>${number(values.max)}</span></figcaption></figure>`;
}

/** @param {{ finding: any }} props */
export const Finding = ({ finding }) => html`<div class=${`finding ${finding.severity}`}><strong>${finding.text}</strong><div>${finding.remedy}</div></div>`;

/** @param {{ report: any }} props */
export function ReportSummary({ report }) {
  const of = (/** @type {string} */ severity) => report.findings.filter((/** @type {any} */ finding) => finding.severity === severity);
  const errors = of("error"), warnings = of("warning");
  const whole = report.findings.filter((/** @type {any} */ finding) => finding.line === null);
  const n = number(report.examples);
  return html`<div class=${`notice ${report.ok ? "good" : "bad"}`}>
      ${report.ok ? t("checkOk", { n }) : t("checkErrors", { errors: errors.length })}
      ${warnings.length > 0 && html` ${t("warnings", { n: warnings.length })}`}</div>
    ${whole.map((/** @type {any} */ finding) => html`<${Finding} finding=${finding} />`)}`;
}

/** @param {{ id: string, query: URLSearchParams }} props */
export function FilePage({ id, query }) {
  const [offset, setOffset] = useState(0);
  const [filter, setFilter] = useState(query.get("findings") === "1" ? ANY_FINDING : "");
  const [asTokens, setAsTokens] = useState(false);
  const [mode, setMode] = useState("");
  const path = `/luthier/files/${encodeURIComponent(id)}`;
  const { data: file, error } = usePolled(() => get(`/files/${encodeURIComponent(id)}`), [id]);
  const { data: report, error: reportError } = usePolled(() => get(`${path}/report`), [id, currentLanguage()]);
  const { data: estimate } = usePolled(() => get(`${path}/estimate`, { model: "gpt-4o-mini" }).catch(() => null), [id]);
  const { data: page, error: pageError } = usePolled(() => get(`${path}/examples`, {
    offset, limit: PAGE, findings_only: String(filter !== ""), code: filter === ANY_FINDING || !filter ? undefined : filter,
    model: asTokens ? "gpt-4o-mini" : undefined,
  }), [id, currentLanguage(), offset, filter, asTokens]);
  const [failure, attempt] = useAttempt();
  useTitle(file?.filename ?? t("files"));
  if (!file) return error ? html`<${ErrorBox} error=${error} />` : html`<${Loading} />`;
  const fetchIt = () => attempt(() => download(`/files/${id}/content`, file.filename));
  const drop = () => attempt(async () => {
    if (!confirm(t("confirmDelete", { name: file.filename }))) return;
    await remove(`/files/${id}`);
    location.hash = "#/files";
  });
  const pager = page && page.total > PAGE && html`<div class="pager">
    <button class="small ghost" disabled=${offset === 0} onClick=${() => setOffset(Math.max(0, offset - PAGE))}>${t("previous")}</button>
    <span class="muted">${t("showing", { from: number(offset + 1), to: number(offset + page.data.length), total: number(page.total) })}</span>
    <button class="small ghost" disabled=${offset + PAGE >= page.total} onClick=${() => setOffset(offset + PAGE)}>${t("nextPage")}</button></div>`;
  const toggle = (/** @type {string} */ name) => () => setMode(mode === name ? "" : name);
  const inLines = new Set((report?.findings ?? []).flatMap((/** @type {any} */ finding) => (finding.line === null ? [] : [finding.code])));
  return html`<p class="crumbs"><a href="#/files">${t("files")}</a></p>
    <div class="head"><h1>${file.filename}</h1><div class="actions">
      ${report && !report.ok && html`<button class="ghost" aria-expanded=${mode === "repair"} onClick=${toggle("repair")}>${t("repair")}</button>`}
      ${report?.ok && file.purpose === "fine-tune" && html`<button class="ghost" aria-expanded=${mode === "split"} onClick=${toggle("split")}>${t("split")}</button>`}
      <button class="ghost" onClick=${fetchIt}>${t("download")}</button>
      <button class="ghost bad" onClick=${drop}>${t("remove")}</button>
      ${file.purpose === "fine-tune" && html`<a class="button" href=${`#/new-job?file=${id}`}>${t("newJob")}</a>`}</div></div>
    <p class="muted id">${id} · ${bytes(file.bytes)} · ${file.purpose}</p>
    <${ErrorBox} error=${failure ?? reportError} />
    ${mode === "repair" && html`<${RepairCard} path=${path} />`}${mode === "split" && html`<${SplitCard} path=${path} />`}
    ${!report && !reportError && html`<p class="muted" role="status">${t("checking")}</p>`}
    ${report && html`<${ReportSummary} report=${report} />`}
    <${Histogram} values=${estimate?.tokens_histogram} />
    <div class="toolbar"><label class="check">${t("showLines")} <select value=${filter} onChange=${(/** @type {any} */ event) => { setOffset(0); setFilter(event.target.value); }}>
        <option value="">${t("allLines")}</option><option value=${ANY_FINDING}>${t("onlyFindings")}</option>
        ${Object.entries(report?.counts ?? {}).filter(([code]) => inLines.has(code)).map(([code, count]) => html`<option value=${code}>${report.names[code]} × ${number(count)}</option>`)}</select></label>
      <label class="check"><input type="checkbox" checked=${asTokens} onChange=${(/** @type {any} */ event) => setAsTokens(event.target.checked)} /> ${t("asTokens")}</label>
      ${asTokens && html`<span class="muted">${t("trainedHint")}</span>`}</div>
    <${ErrorBox} error=${pageError} />
    ${pager}${page?.data.map((/** @type {any} */ view) => html`<section class="card example" key=${view.line}>
      <div class="muted id">${t("line", { n: number(view.line) })}</div>
      ${view.findings.map((/** @type {any} */ finding) => html`<${Finding} finding=${finding} />`)}
      ${view.problem && html`<div class="finding error">${t("notRendered", { reason: view.problem })}</div>`}
      ${view.example === null ? html`${!view.findings.length && html`<div class="finding error">${t("notJson")}</div>`}<pre>${view.raw}</pre>`
        : asTokens && view.segments ? html`<${Tokens} segments=${view.segments} />` : html`<${Conversation} example=${view.example} />`}</section>`)}${pager}
    ${page && !page.data.length && html`<p class="empty">${t("noFindings")}</p>`}`;
}

/** What a repair would change, before it is saved as a copy. @param {{ path: string }} props */
function RepairCard({ path }) {
  const { data, error } = usePolled(() => post(`${path}/repair?preview=true`), [path, currentLanguage()]);
  const [failure, attempt] = useAttempt();
  const saveCopy = () => attempt(async () => { location.hash = `#/file/${(await post(`${path}/repair`)).file.id}`; });
  if (!data) return error ? html`<${ErrorBox} error=${error} />` : html`<${Loading} />`;
  return html`<section class="card"><h2>${t("repair")}</h2><${ErrorBox} error=${failure} />
    <p>${t("repaired", { n: data.repaired, rejected: data.rejected })}</p>
    ${data.repairs.slice(0, SHOWN_REPAIRS).map((/** @type {any} */ entry) => html`<${Change} key=${entry.line} entry=${entry} />`)}
    ${data.repairs.length > SHOWN_REPAIRS && html`<p class="muted">${t("moreChanges", { n: data.repairs.length - SHOWN_REPAIRS })}</p>`}
    ${data.examples > 0 ? html`<button onClick=${saveCopy}>${t("saveCopy", { n: number(data.examples) })}</button>` : html`<p>${t("nothingLeft")}</p>`}</section>`;
}

/** The part of a line that changes, with some of what stands around it. @param {{ entry: any }} props */
function Change({ entry }) {
  const { before, after } = entry, shorter = Math.min(before.length, after.length);
  let start = 0, end = 0;
  while (start < shorter && before[start] === after[start]) start++;
  while (end < shorter - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const around = (/** @type {string} */ text) => [text.slice(Math.max(0, start - CONTEXT), start), text.slice(start, text.length - end).slice(0, MAX_CHANGE), text.slice(text.length - end).slice(0, CONTEXT)];
  const [head, removed, tail] = around(before), added = around(after)[1];
  return html`<div class="change"><div class="muted id">${t("line", { n: number(entry.line) })}: ${entry.names.join(", ")} ${!entry.taken && t("guessOnly")}</div>
    <pre><span class="muted">${head}</span>${removed && html`<del>${removed}</del>`}${added && html`<ins>${added}</ins>`}<span class="muted">${tail}</span></pre></div>`;
}

/** @param {{ path: string }} props */
function SplitCard({ path }) {
  const [share, setShare] = useState(20);
  const [parts, setParts] = useState(/** @type {any} */ (null));
  const [failure, attempt] = useAttempt();
  const split = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(async () => setParts(await post(`${path}/split`, { validation: share / 100 })));
  };
  return html`<form class="card" onSubmit=${split}><h2>${t("split")}</h2><p class="muted">${t("splitText")}</p>
    <label class="check">${t("heldOut")} <input class="step" type="number" min="1" max="90" required value=${share} onInput=${(/** @type {any} */ event) => setShare(Number(event.target.value))} /> %</label>
    <p><button>${t("split")}</button></p><${ErrorBox} error=${failure} />
    ${parts && html`<div class="notice good" role="status">${t("splitDone", { train: parts.training_examples, valid: parts.validation_examples })}:
      ${[parts.training_file, parts.validation_file].map((file) => html` <a href=${`#/file/${file.id}`}>${file.filename}</a>`)}</div>`}</form>`;
}
