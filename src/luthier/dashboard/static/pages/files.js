/** The list of files. */

import { html, useState } from "../preact.js";
import { get, remove, upload } from "../api.js";
import { bytes, date, t } from "../i18n.js";
import { ErrorBox, Loading, usePolled, useTitle } from "../ui.js";

const PAGE = 50;

export function FilesPage() {
  useTitle(t("files"));
  const [count, setCount] = useState(PAGE);
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const { data, error, reload } = usePolled(() => get("/files", { limit: count }), [count], 5);
  const drop = async (/** @type {any} */ file) => {
    if (!confirm(t("confirmDelete", { name: file.filename }))) return;
    await remove(`/files/${file.id}`).catch(setFailure);
    reload();
  };
  const send = async (/** @type {any} */ event) => {
    setFailure(null);
    for (const file of event.target.files) await upload(file, "fine-tune").catch(setFailure);
    event.target.value = "";
    reload();
  };
  return html`<div class="head"><h1>${t("files")}</h1>
      <label class="button">${t("chooseFile")}<input class="hidden" type="file" accept=".jsonl" multiple onChange=${send} /></label></div>
    <${ErrorBox} error=${failure ?? error} onRetry=${reload} />
    ${!data && !error && html`<${Loading} />`}
    ${data && !data.data.length && html`<p class="empty">${t("noFiles")}</p>`}
    ${data?.data.length > 0 && html`<table class="stack"><thead><tr><th>${t("name")}</th><th>${t("purpose")}</th><th>${t("size")}</th>
      <th>${t("created")}</th><th><span class="unseen">${t("actions")}</span></th></tr></thead><tbody>${data.data.map((/** @type {any} */ file) => html`<tr key=${file.id}>
        <td><a class="strong" href=${`#/file/${file.id}`}>${file.filename}</a><div class="muted id">${file.id}</div></td>
        <td class="muted">${file.purpose}</td><td class="muted">${bytes(file.bytes)}</td><td class="muted">${date(file.created_at)}</td>
        <td><button class="small ghost bad" aria-label=${`${t("remove")} ${file.filename}`} onClick=${() => drop(file)}>${t("remove")}</button></td></tr>`)}</tbody></table>`}
    ${data?.has_more && html`<button class="ghost" onClick=${() => setCount(count + PAGE)}>${t("more")}</button>`}`;
}
