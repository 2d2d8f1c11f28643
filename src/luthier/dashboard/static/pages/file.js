/** A training file: its report, its lines with their findings, and the tokens that are trained. */

import { html, useState } from "../preact.js";
import { get, post, request, save } from "../api.js";
import { bytes, currentLanguage, number, t } from "../i18n.js";
import { ErrorBox, Loading, usePolled, useTitle } from "../ui.js";
import { Conversation, Tokens } from "../conversation.js";

const PAGE = 20;

/** @param {{ values: { bars: number[], min: number, max: number } | null }} props */
export function Histogram({ values }) {
  if (!values) return null;
  const most = Math.max(...values.bars, 1);
  return html`<figure class="histogram"><svg viewBox="0 0 200 40" role="img" aria-label=${t("tokens")}>${values.bars.map((count, index) =>
    html`<rect x=${index * 20 + 1} y=${40 - (count / most) * 38} width="18" height=${(count / most) * 38}><title>${count}</title></rect>`)}</svg>
    <figcaption class="muted"><span>${number(values.min)}</span><span>${t("tokens")}</span><span>${number(values.max)}</span></figcaption></figure>`;
}

/** @param {{ finding: any }} props */
export const Finding = ({ finding }) => html`<div class=${`finding ${finding.severity}`}><strong>${finding.text}</strong> ${finding.remedy}</div>`;

/** @param {{ report: any }} props */
export function ReportSummary({ report }) {
  const of = (/** @type {string} */ severity) => report.findings.filter((/** @type {any} */ finding) => finding.severity === severity);
  const errors = of("error"), warnings = of("warning");
  const whole = report.findings.filter((/** @type {any} */ finding) => finding.line === null);
  const n = number(report.examples);
  return html`<div class=${`notice ${report.ok ? "good" : "bad"}`}>
      ${report.ok ? t("checkOk", { n }) : t("checkErrors", { errors: errors.length })}
      ${warnings.length > 0 && html` ${t("warnings", { n: warnings.length })}.`}</div>
    ${whole.map((/** @type {any} */ finding) => html`<${Finding} finding=${finding} />`)}`;
}

/** @param {{ id: string, query: URLSearchParams }} props */
export function FilePage({ id, query }) {
  const [offset, setOffset] = useState(0);
  const [onlyFindings, setOnlyFindings] = useState(query.get("findings") === "1");
  const [asTokens, setAsTokens] = useState(false);
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const lang = currentLanguage(), path = `/luthier/files/${encodeURIComponent(id)}`;
  const { data: file, error } = usePolled(() => get(`/files/${encodeURIComponent(id)}`), [id]);
  const { data: report, error: reportError } = usePolled(() => get(`${path}/report`, { lang }), [id, lang]);
  const { data: estimate } = usePolled(() => get(`${path}/estimate`, { model: "gpt-4o-mini" }).catch(() => null), [id]);
  const { data: page, error: pageError } = usePolled(() => get(`${path}/examples`, {
    offset, limit: PAGE, lang, findings_only: String(onlyFindings), model: asTokens ? "gpt-4o-mini" : undefined,
  }), [id, lang, offset, onlyFindings, asTokens]);
  useTitle(file?.filename ?? t("files"));
  if (!file) return error ? html`<${ErrorBox} error=${error} />` : html`<${Loading} />`;
  const download = async () => save(await (await request(`/files/${id}/content`)).blob(), file.filename);
  const repair = async () => {
    try {
      const repaired = await post(`${path}/repair`);
      if (repaired.file) location.hash = `#/file/${repaired.file.id}`;
      alert(t("repaired", { n: repaired.repaired, rejected: repaired.rejected }));
    } catch (problem) { setFailure(/** @type {Error} */ (problem)); }
  };
  const pager = page && page.total > PAGE && html`<div class="pager">
    <button class="small ghost" disabled=${offset === 0} onClick=${() => setOffset(Math.max(0, offset - PAGE))}>${t("previous")}</button>
    <span class="muted">${t("showing", { from: number(offset + 1), to: number(offset + page.data.length), total: number(page.total) })}</span>
    <button class="small ghost" disabled=${offset + PAGE >= page.total} onClick=${() => setOffset(offset + PAGE)}>${t("nextPage")}</button></div>`;
  const toggle = (/** @type {(value: any) => void} */ set) => (/** @type {any} */ event) => { setOffset(0); set(event.target.checked); };
  return html`<p class="crumbs"><a href="#/files">${t("files")}</a></p>
    <div class="head"><h1>${file.filename}</h1><div class="actions">
      ${report && !report.ok && html`<button class="ghost" onClick=${repair}>${t("repair")}</button>`}
      <button class="ghost" onClick=${download}>${t("download")}</button>
      ${file.purpose === "fine-tune" && html`<a class="button" href=${`#/new-job?file=${id}`}>${t("newJob")}</a>`}</div></div>
    <p class="muted id">${id} · ${bytes(file.bytes)} · ${file.purpose}</p>
    <${ErrorBox} error=${failure ?? reportError} />
    ${!report && !reportError && html`<p class="muted" role="status">${t("checking")}</p>`}
    ${report && html`<${ReportSummary} report=${report} />`}
    <${Histogram} values=${estimate?.tokens_histogram} />
    <div class="toolbar"><label class="check"><input type="checkbox" checked=${onlyFindings} onChange=${toggle(setOnlyFindings)} /> ${t("onlyFindings")}</label>
      <label class="check"><input type="checkbox" checked=${asTokens} onChange=${toggle(setAsTokens)} /> ${t("asTokens")}</label>
      ${asTokens && html`<span class="muted">${t("trainedHint")}</span>`}</div>
    <${ErrorBox} error=${pageError} />
    ${pager}${page?.data.map((/** @type {any} */ view) => html`<section class="card example" key=${view.line}>
      <div class="muted id">${t("line", { n: number(view.line) })}</div>
      ${view.findings.map((/** @type {any} */ finding) => html`<${Finding} finding=${finding} />`)}
      ${view.problem && html`<div class="finding error">${t("notRendered", { reason: view.problem })}</div>`}
      ${view.example === null ? html`<div class="finding error">${t("notJson")}</div><pre>${view.raw}</pre>`
        : asTokens && view.segments ? html`<${Tokens} segments=${view.segments} />` : html`<${Conversation} example=${view.example} />`}</section>`)}${pager}
    ${page && !page.data.length && html`<p class="empty">${t("noFindings")}</p>`}`;
}
