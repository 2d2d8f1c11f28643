/** The list of jobs: filters, groups by metadata, names, deletion. */

import { html, useEffect, useState } from "../preact.js";
import { get, post, remove } from "../api.js";
import { date, duration, t } from "../i18n.js";
import { Bar, ErrorBox, Loading, Sparkline, Status, usePolled, useTitle } from "../ui.js";

const PAGE = 50;
const POLL_S = 3;  // of the first page; a list that is n times as long is fetched as many times less often
const TYPING_MS = 250;
const STATUSES = ["running", "queued", "validating_files", "paused", "succeeded", "failed", "cancelled"];

/** What a waiting job waits for. @param {{ ahead: number, estimated_start: number | null, reason: string }} place */
export function queueText(place) {
  if (place.reason === "no_worker") return t("noWorker");
  if (place.reason === "validating") return t("beingChecked");
  const text = place.ahead === 0 ? t("next") : t("startsAfter", { n: place.ahead });
  const wait = place.estimated_start === null ? 0 : place.estimated_start - Date.now() / 1000;
  return wait > 5 ? `${text}, ${t("inAbout", { time: duration(wait) })}` : text;
}

/** @param {any} job @returns {string} the time that a running job has left, or that a finished one took */
export function timeText(job) {
  const left = job.estimated_finish ? job.estimated_finish - Date.now() / 1000 : 0;
  if (job.status === "running" && left > 0) return t("timeLeft", { time: duration(left) });
  return job.finished_at ? t("took", { time: duration(job.finished_at - job.created_at) }) : "";
}

/** @param {any} view */
export const jobName = (view) => view.name || view.job.user_provided_suffix || view.job.id;

/** Asks for a name and saves it; false where the person keeps the one there is. @param {any} view */
export async function renameJob(view) {
  const name = prompt(t("renameJob"), view.name ?? view.job.user_provided_suffix ?? "");
  if (name === null) return false;
  await post(`/luthier/jobs/${view.id}`, { name: name.trim() || null });
  return true;
}

/** Asks, and deletes a job with its models, which the question names; false where the person keeps it. @param {any} view */
export async function deleteJob(view) {
  const { data } = await get(`/fine_tuning/jobs/${view.id}/checkpoints`, { limit: 1000 });
  const names = new Set(data.map((/** @type {any} */ entry) => entry.fine_tuned_model_checkpoint));
  if (view.job.fine_tuned_model) names.add(view.job.fine_tuned_model);
  const question = names.size ? t("confirmDeleteJob", { name: jobName(view), models: [...names].join("\n") }) : t("confirmDelete", { name: jobName(view) });
  if (!confirm(question)) return false;
  await remove(`/luthier/jobs/${view.id}?models=${names.size > 0}`);
  return true;
}

/** @param {{ view: any }} props */
function Progress({ view }) {
  if (view.queue) return html`<span class="muted">${queueText(view.queue)}</span>`;
  if (view.failure) return html`<span class="muted clamped">${view.failure}</span>`;
  if (!view.progress) return null;
  const { step, total_steps: total } = view.progress;
  return html`<span class="progress"><${Bar} share=${step / total} label=${t("stepOf", { step, total })} />
    <span class="muted">${step}/${total}${timeText(view.job) && ` · ${timeText(view.job)}`}</span></span>`;
}

/** @param {{ query: Record<string, any>, empty: unknown, onError: (error: Error | null) => void }} props `query`: of the list's route */
function JobTable({ query, empty, onError }) {
  const [count, setCount] = useState(PAGE);
  const { data, error, reload } = usePolled(() => get("/luthier/jobs", { ...query, limit: count }),
    [count, JSON.stringify(query)], POLL_S * Math.ceil(count / PAGE));
  const act = (/** @type {(view: any) => Promise<boolean>} */ change, /** @type {any} */ view) => async () => {
    try {
      if (await change(view)) reload();
      onError(null);
    } catch (failure) { onError(/** @type {Error} */ (failure)); }
  };
  if (!data) return error ? html`<${ErrorBox} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  if (!data.data.length) return empty;
  return html`<${ErrorBox} error=${error} onRetry=${reload} /><table class="stack">
      <thead><tr><th>${t("job")}</th><th>${t("status")}</th><th>${t("base")}</th><th>${t("progress")}</th>
        <th>${t("loss")}</th><th>${t("created")}</th><th><span class="unseen">${t("actions")}</span></th></tr></thead>
      <tbody>${data.data.map((/** @type {any} */ view) => html`<tr key=${view.id}>
        <td><a class="strong" href=${`#/job/${view.id}`}>${jobName(view)}</a><div class="muted id">${view.job.model}</div></td>
        <td><${Status} status=${view.job.status} /></td>
        <td class="muted whole">${view.base}</td>
        <td><${Progress} view=${view} /></td>
        <td class="loss">${view.progress?.losses.length > 0 && html`<${Sparkline} values=${view.progress.losses} />
          <span class="muted">${view.progress.losses.at(-1).toFixed(3)}</span>`}</td>
        <td class="muted whole">${date(view.job.created_at)}</td>
        <td class="actions"><button class="small ghost" aria-label=${`${t("rename")} ${jobName(view)}`} onClick=${act(renameJob, view)}>${t("rename")}</button>
          ${view.job.finished_at && html`<button class="small ghost bad" aria-label=${`${t("remove")} ${jobName(view)}`} onClick=${act(deleteJob, view)}>${t("remove")}</button>`}</td>
        </tr>`)}</tbody></table>
    ${data.has_more && html`<button class="ghost" onClick=${() => setCount(Math.min(1000, count + PAGE))}>${t("more")}</button>`}`;
}

/** Jobs with one value of a metadata key. @param {{ by: string, group: any, query: any, isOpen: boolean, onError: any }} props */
function Group({ by, group, query, isOpen, onError }) {
  const [open, setOpen] = useState(isOpen);
  const statuses = Object.entries(group.by_status).map(([status, count]) => `${count} ${t(status)}`).join(", ");
  const within = group.value === null ? { without: by } : { [`metadata[${by}]`]: group.value };
  return html`<details class="group" open=${open} onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}>
    <summary><strong>${group.value === null ? t("noValue", { key: by }) : group.value}</strong> <span class="muted">${statuses}</span></summary>
    ${open && html`<${JobTable} query=${{ ...query, ...within }} onError=${onError} empty=${html`<p class="empty">${t("noMatch")}</p>`} />`}</details>`;
}

export function JobsPage() {
  useTitle(t("jobs"));
  const [status, setStatus] = useState("");
  const [text, setText] = useState("");
  const [search, setSearch] = useState("");
  const [by, setBy] = useState("");
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(() => { const timer = setTimeout(() => setSearch(text), TYPING_MS); return () => clearTimeout(timer); }, [text]);
  const { data: groups } = usePolled(() => get("/luthier/jobs/groups", { by: by || undefined }), [by], by ? 10 : 0);
  const query = { search: search || undefined, status: status || undefined };
  const empty = search || status ? html`<p class="empty">${t("noMatch")}</p>`
    : html`<div class="empty"><p>${t("noJobs")}</p><a class="button" href="#/new-job">${t("newJob")}</a></div>`;
  const choose = (/** @type {(value: string) => void} */ set) => (/** @type {any} */ event) => set(event.target.value);
  return html`<div class="head"><h1>${t("jobs")}</h1><a class="button" href="#/new-job">${t("newJob")}</a></div>
    <div class="filters">
      <input type="search" aria-label=${t("search")} placeholder=${t("search")} value=${text} onInput=${choose(setText)} />
      <select aria-label=${t("status")} value=${status} onChange=${choose(setStatus)}>
        <option value="">${t("all")}</option>${STATUSES.map((name) => html`<option value=${name}>${t(name)}</option>`)}</select>
      <select aria-label=${t("groupBy")} value=${by} onChange=${choose(setBy)}>
        <option value="">${t("ungrouped")}</option>${(groups?.keys ?? []).map((/** @type {string} */ key) => html`<option value=${key}>${t("groupedBy", { key })}</option>`)}</select>
    </div>
    <${ErrorBox} error=${failure} />
    ${by && groups?.by === by ? groups.data.map((/** @type {any} */ group, /** @type {number} */ index) =>
      html`<${Group} key=${`${by}/${group.value}`} by=${by} group=${group} query=${query} isOpen=${index === 0} onError=${setFailure} />`)
      : html`<${JobTable} query=${query} empty=${empty} onError=${setFailure} />`}`;
}
