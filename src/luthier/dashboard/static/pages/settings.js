/** Settings: of this browser, and of the server: workers, aliases, keys, webhook endpoints. */

import { html, useState } from "../preact.js";
import { get, post, remove, setKey } from "../api.js";
import { bytes, date, listed, number, t } from "../i18n.js";
import { Copy, ErrorBox, Loading, Status, useAttempt, usePolled, useTitle } from "../ui.js";

const DAY_S = 24 * 3600;

/** @param {{ language: string, theme: string, onLanguage: (value: any) => void, onTheme: (value: string) => void, onSignOut: () => void }} props */
export function SettingsPage({ language, theme, onLanguage, onTheme, onSignOut }) {
  useTitle(t("settings"));
  const { data: server, error } = usePolled(() => get("/luthier/server"), [], 10);
  const isAdmin = server?.caller.role === "admin";
  return html`<h1>${t("settings")}</h1><div class="columns"><section class="card"><h2>${t("thisBrowser")}</h2>
      <label>${t("language")}<select value=${language} onChange=${(/** @type {any} */ event) => onLanguage(event.target.value)}><option value="en">English</option><option value="zh">中文</option></select></label>
      <label>${t("theme")}<select value=${theme} onChange=${(/** @type {any} */ event) => onTheme(event.target.value)}>${["system", "light", "dark"].map((name) => html`<option value=${name}>${t(name)}</option>`)}</select></label>
      ${server?.keys_required && html`<button class="ghost" onClick=${onSignOut}>${t("signOut")}</button>`}</section>
    <section class="card"><h2>${t("serverVersion")}</h2><${ErrorBox} error=${error} />${server ? html`<${Server} server=${server} />` : !error && html`<${Loading} />`}</section></div>
    ${server && html`<section class="card"><h2>${t("aliases")}</h2><${Aliases} aliases=${server.aliases} /></section>
      <section class="card"><h2>${t("keysAndProjects")}</h2>${isAdmin ? html`<${Keys} own=${server.caller.project} isFirst=${!server.keys_required} />` : html`<p class="muted">${t("adminsOnly")}</p>`}</section>
      <section class="card"><h2>${t("webhooks")}</h2><${Webhooks} canChange=${server.caller.role !== "reader"} /></section>`}`;
}

/** @param {{ server: any }} props */
function Server({ server }) {
  const { caller } = server;
  const rows = [
    [t("version"), `Luthier ${server.version}`], [t("yourKey"), listed(t(caller.role), caller.project ?? t("wholeOrganization"))],
    [t("workers"), server.workers ? number(server.workers) : t("noWorkers")], [t("base"), server.base],
    [t("device"), listed(server.device === "auto" ? t("auto") : server.device, server.precision === "auto" ? t("auto") : server.precision)],
    ["CPU", t("cpuText", { cpu: server.cpu, cores: server.cpu_cores })], [t("freeMemory"), bytes(server.available_memory_bytes)],
  ];
  return html`<table><tbody>${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table>`;
}

/** @param {{ aliases: Record<string, string | null> }} props */
function Aliases({ aliases }) {
  const names = Object.entries(aliases);
  return html`${names.length > 0 && html`<table><tbody>${names.map(([name, root]) => html`<tr><th scope="row" class="id">${name}</th><td class="id">${root ?? "–"}</td></tr>`)}</tbody></table>`}
    <p class="muted">${t("aliasesText")} <code>luthier alias set NAME MODEL</code></p>`;
}

/**
 * API keys that the server manages.
 * @param {{ own: string | null, isFirst: boolean }} props `own`: the caller's project, to which new keys then belong;
 *   `isFirst`: from the next key on every request needs one, so it is an admin's, and this page goes on with it
 */
function Keys({ own, isFirst }) {
  const [fields, setFields] = useState({ name: "", project: own ?? "", role: "member", days: "" });
  const [created, setCreated] = useState(/** @type {any} */ (null));
  const { data, error, reload } = usePolled(() => get("/luthier/keys", { limit: 1000 }), []);
  const [failure, attempt] = useAttempt();
  const isOnlyAdmin = isFirst && !created, role = isOnlyAdmin ? "admin" : fields.role;
  const change = (/** @type {keyof typeof fields} */ name) => (/** @type {any} */ event) => setFields({ ...fields, [name]: event.target.value });
  const create = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(async () => {
      const key = await post("/luthier/keys", {
        name: fields.name, role, project: fields.project.trim() || null, ...(fields.days && { expires_in_s: Number(fields.days) * DAY_S }),
      });
      if (isOnlyAdmin) setKey(key.value);
      setCreated(key);
      reload();
    });
  };
  const renew = (/** @type {any} */ key) => attempt(async () => {
    if (!confirm(t("confirmRotate", { name: key.name }))) return;
    setCreated(await post(`/luthier/keys/${key.id}/rotate`));
    reload();
  });
  const revoke = (/** @type {any} */ key) => attempt(async () => {
    if (!confirm(t("confirmRevoke", { name: key.name }))) return;
    await remove(`/luthier/keys/${key.id}`);
    reload();
  });
  return html`<p class="muted">${t("keysText")}</p><${ErrorBox} error=${failure ?? error} />
    <form onSubmit=${create}><div class="grid">
      <label>${t("name")}<input required maxlength="100" value=${fields.name} onInput=${change("name")} /></label>
      <label>${t("project")}<input disabled=${own !== null} placeholder=${t("wholeOrganization")} value=${fields.project} onInput=${change("project")} /></label>
      <label>${t("role")}<select value=${role} onChange=${change("role")}>${(isOnlyAdmin ? ["admin"] : ["admin", "member", "reader"]).map((role) => html`<option value=${role}>${t(role)}</option>`)}</select></label>
      <label>${t("expiresInDays")}<input type="number" min="1" max="3650" placeholder=${t("never")} value=${fields.days} onInput=${change("days")} /></label></div>
      <p><button>${t("createKey")}</button></p></form>
    ${created && html`<div class="notice good" role="status">${t("shownOnce", { name: created.name })} <code>${created.value}</code> <${Copy} text=${created.value} /></div>`}
    ${data?.data.length > 0 && html`<table class="stack"><thead><tr><th>${t("name")}</th><th>${t("project")}</th><th>${t("role")}</th><th>${t("status")}</th><th>${t("expires")}</th><th><span class="unseen">${t("actions")}</span></th></tr></thead>
      <tbody>${data.data.map((/** @type {any} */ key) => html`<tr key=${key.id}><td class="strong">${key.name} <span class="muted">…${key.hint}</span></td><td>${key.project ?? t("wholeOrganization")}</td><td>${t(key.role)}</td>
        <td><${Status} status=${key.status} /></td><td class="muted">${key.expires_at ? date(key.expires_at) : t("never")}</td>
        <td class="actions">${key.status === "active" && html`<button class="small ghost" aria-label=${`${t("rotate")} ${key.name}`} onClick=${() => renew(key)}>${t("rotate")}</button>
          <button class="small ghost bad" aria-label=${`${t("revoke")} ${key.name}`} onClick=${() => revoke(key)}>${t("revoke")}</button>`}</td></tr>`)}</tbody></table>`}`;
}

/** Addresses that are told of events. @param {{ canChange: boolean }} props */
function Webhooks({ canChange }) {
  const [fields, setFields] = useState({ name: "", url: "" });
  const [note, setNote] = useState(/** @type {any} */ (null));
  const { data, error, reload } = usePolled(() => get("/webhook_endpoints", { limit: 100 }), []);
  const { data: types } = usePolled(() => get("/webhook_event_types"), []);
  const [failure, attempt] = useAttempt();
  const create = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(async () => {
      const endpoint = await post("/webhook_endpoints", { ...fields, event_types: types.data });
      setNote(html`${t("shownOnce", { name: endpoint.name })} <code>${endpoint.signing_secret}</code> <${Copy} text=${endpoint.signing_secret} />`);
      setFields({ name: "", url: "" });
      reload();
    });
  };
  const send = (/** @type {any} */ endpoint) => attempt(async () => {
    const sent = await post(`/webhook_endpoints/${endpoint.id}/test`, { event_type: endpoint.event_types[0] });
    setNote(t("testSent", { type: sent.event_type, status: sent.status_code }));
  });
  const drop = (/** @type {any} */ endpoint) => attempt(async () => {
    if (!confirm(t("confirmDelete", { name: endpoint.name }))) return;
    await remove(`/webhook_endpoints/${endpoint.id}`);
    reload();
  });
  const change = (/** @type {"name" | "url"} */ name) => (/** @type {any} */ event) => setFields({ ...fields, [name]: event.target.value });
  return html`<p class="muted">${t("webhooksText")}</p><${ErrorBox} error=${failure ?? error} />
    ${canChange && html`<form onSubmit=${create}><div class="grid"><label>${t("name")}<input required maxlength="256" value=${fields.name} onInput=${change("name")} /></label>
      <label>URL<input type="url" required maxlength="2048" value=${fields.url} onInput=${change("url")} /></label></div><p><button disabled=${!types}>${t("addEndpoint")}</button></p></form>`}
    ${note && html`<div class="notice good" role="status">${note}</div>`}
    ${data?.data.length > 0 && html`<table class="stack"><tbody>${data.data.map((/** @type {any} */ endpoint) => html`<tr key=${endpoint.id}><td><strong>${endpoint.name}</strong><div class="muted id">${endpoint.url}</div></td>
      <td class="muted">${t("eventTypes", { n: endpoint.event_types.length })}</td>
      <td class="actions">${canChange && html`<button class="small ghost" aria-label=${`${t("sendTest")} ${endpoint.name}`} onClick=${() => send(endpoint)}>${t("sendTest")}</button>
        <button class="small ghost bad" aria-label=${`${t("remove")} ${endpoint.name}`} onClick=${() => drop(endpoint)}>${t("remove")}</button>`}</td></tr>`)}</tbody></table>`}`;
}
