/** The list of jobs. */

import { html, useMemo, useState } from "../preact.js";
import { get } from "../api.js";
import { date, duration, t } from "../i18n.js";
import { Bar, ErrorBox, Loading, Sparkline, Status, usePolled, useTitle } from "../ui.js";

const PAGE = 50;
const STATUSES = ["running", "queued", "validating_files", "paused", "succeeded", "failed", "cancelled"];

/** What a waiting job waits for. @param {{ ahead: number, estimated_start: number | null }} place */
export function queueText(place) {
  const text = place.ahead === 0 ? t("next") : place.ahead === 1 ? t("startsAfterOne") : t("startsAfter", { n: place.ahead });
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
export const jobName = (view) => view.job.user_provided_suffix || view.job.id;

/** @param {{ view: any }} props */
function Progress({ view }) {
  if (view.queue) return html`<span class="muted">${queueText(view.queue)}</span>`;
  if (!view.progress) return html`<span class="muted">–</span>`;
  const { step, total_steps: total } = view.progress;
  return html`<span class="progress"><${Bar} share=${step / total} label=${t("stepOf", { step, total })} />
    <span class="muted">${step}/${total} ${timeText(view.job)}</span></span>`;
}

/** @param {any} view @param {string} text */
function matches(view, text) {
  const { job } = view;
  const fields = [job.id, job.model, job.user_provided_suffix, job.fine_tuned_model, ...Object.entries(job.metadata ?? {}).flat()];
  return fields.some((field) => field?.toLowerCase().includes(text.toLowerCase()));
}

export function JobsPage() {
  useTitle(t("jobs"));
  const [count, setCount] = useState(PAGE);
  const [status, setStatus] = useState("");
  const [text, setText] = useState("");
  const { data, error, reload } = usePolled(() => get("/luthier/jobs", { limit: count }), [count], 3);
  const views = useMemo(() => (data?.data ?? []).filter((/** @type {any} */ view) =>
    (!status || view.job.status === status) && (!text || matches(view, text))), [data, status, text]);
  return html`<div class="head"><h1>${t("jobs")}</h1><a class="button" href="#/new-job">${t("newJob")}</a></div>
    <div class="filters">
      <input type="search" aria-label=${t("search")} placeholder=${t("search")} value=${text}
        onInput=${(/** @type {any} */ event) => setText(event.target.value)} />
      <select aria-label=${t("status")} value=${status} onChange=${(/** @type {any} */ event) => setStatus(event.target.value)}>
        <option value="">${t("all")}</option>${STATUSES.map((name) => html`<option value=${name}>${t(name)}</option>`)}
      </select>
    </div>
    <${ErrorBox} error=${error} onRetry=${reload} />
    ${!data && !error && html`<${Loading} />`}
    ${data && !data.data.length && html`<div class="empty"><p>${t("noJobs")}</p><a class="button" href="#/new-job">${t("newJob")}</a></div>`}
    ${data?.data.length > 0 && !views.length && html`<p class="empty">${t("noMatch")}</p>`}
    ${views.length > 0 && html`<table class="stack">
      <thead><tr><th>${t("job")}</th><th>${t("status")}</th><th>${t("base")}</th><th>${t("progress")}</th>
        <th>${t("loss")}</th><th>${t("created")}</th></tr></thead>
      <tbody>${views.map((/** @type {any} */ view) => html`<tr key=${view.id}>
        <td><a class="strong" href=${`#/job/${view.id}`}>${jobName(view)}</a><div class="muted id">${view.job.model}</div></td>
        <td><${Status} status=${view.job.status} /></td>
        <td class="muted">${view.base}</td>
        <td><${Progress} view=${view} /></td>
        <td class="loss"><${Sparkline} values=${view.progress?.losses ?? []} />
          <span class="muted">${view.progress?.losses.length ? view.progress.losses.at(-1).toFixed(3) : ""}</span></td>
        <td class="muted">${date(view.job.created_at)}</td></tr>`)}</tbody></table>`}
    ${data?.has_more && html`<button class="ghost" onClick=${() => setCount(Math.min(1000, count + PAGE))}>${t("more")}</button>`}`;
}
