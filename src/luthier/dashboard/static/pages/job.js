/** A job: what it does, how it learns, what it left. */

import { html, useEffect, useState } from "../preact.js";
import { download, get, post, request, save } from "../api.js";
import { clock, currentLanguage, date, number, t } from "../i18n.js";
import { Bar, Copy, ErrorBox, Loading, Status, useAttempt, usePolled, useTitle } from "../ui.js";
import { Finding } from "./file.js";
import { Curves, settingName } from "./job_curves.js";
import { useJob } from "./job_updates.js";
import { deleteJob, jobName, queueText, renameJob, timeText } from "./jobs.js";

const FINAL = ["succeeded", "failed", "cancelled"];
const SHOWN_FINDINGS = 3;

/** The checkpoint with the lowest full validation loss. @param {any[]} checkpoints */
function bestOf(checkpoints) {
  const measured = checkpoints.filter((entry) => Number.isFinite(entry.metrics.full_valid_loss));
  return measured.sort((one, other) => one.metrics.full_valid_loss - other.metrics.full_valid_loss)[0];
}

/** @param {{ full: any }} props `full`: the curve of the full validation loss, if there is one */
function RisingNotice({ full }) {
  if (!full || full.value.length < 2) return null;
  const low = Math.min(...full.value), last = full.value.at(-1);
  if (last <= low * 1.02) return null;
  const step = full.step[full.value.indexOf(low)];
  return html`<div class="notice">${t("validationRises", { step, low: low.toFixed(3), last: last.toFixed(3) })}</div>`;
}

/** @param {{ id: string }} props */
export function JobPage({ id }) {
  const [live, setLive] = useState(true);
  const { data, error, reload } = useJob(id, live);
  const view = data?.view, newest = data?.messages[0]?.id;  // a message tells of each checkpoint
  const { data: checkpoints } = usePolled(async () => (view ? get(`/fine_tuning/jobs/${encodeURIComponent(id)}/checkpoints`, { limit: 100 }) : null), [id, newest, Boolean(view)]);
  useTitle(view ? jobName(view) : t("job"));
  const status = view?.job.status;
  useEffect(() => { if (FINAL.includes(status)) setLive(false); }, [status]);
  if (!data) return error ? html`<${ErrorBox} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  const { series, messages } = data, { job } = view;
  const best = bestOf([...(checkpoints?.data ?? [])]);
  return html`<p class="crumbs"><a href="#/jobs">${t("jobs")}</a></p>
    <div class="head"><h1>${jobName(view)} <${Status} status=${job.status} /></h1><${Actions} view=${view} onDone=${reload} /></div>
    <p class="muted id">${job.id} <${Copy} text=${job.id} /></p>
    <${ErrorBox} error=${error} onRetry=${reload} />
    <${State} view=${view} />
    <section class="card"><${Curves} series=${series} checkpoints=${checkpoints?.data ?? []} best=${best} view=${view} /></section>
    <${RisingNotice} full=${series.full_valid_loss} />
    ${best && html`<div class="notice">${t("bestCheckpoint", { step: best.step_number, loss: best.metrics.full_valid_loss.toFixed(4) })} <${ModelLinks} model=${best.fine_tuned_model_checkpoint} /></div>`}
    <div class="columns">
      <section class="card"><h2>${t("checkpoints")}</h2><${Checkpoints} checkpoints=${checkpoints?.data ?? []} best=${best} isOver=${!live} /></section>
      <section class="card"><h2>${t("hyperparameters")}</h2><${Settings} view=${view} /></section>
    </div>
    <section class="card"><h2>${t("events")}</h2><ol class="events" tabindex="0" aria-label=${t("events")}>${messages.map((/** @type {any} */ event) =>
      html`<li key=${event.id} class=${event.level}><time>${clock(event.created_at)}</time> <span>${event.message}</span></li>`)}</ol></section>`;
}

/** Whether it is running, when it is done, what went wrong. @param {{ view: any }} props */
function State({ view }) {
  const { job, progress, queue } = view;
  if (job.status === "failed") return html`<${Failure} view=${view} />`;
  if (job.fine_tuned_model && job.status === "succeeded") {
    return html`<div class="notice good"><span class="id strong">${job.fine_tuned_model}</span> <${Copy} text=${job.fine_tuned_model} />
      <a class="button small" href=${`#/playground?model=${encodeURIComponent(job.fine_tuned_model)}`}>${t("useModel")}</a>
      <a href=${`#/model/${encodeURIComponent(job.fine_tuned_model)}`}>${t("lineageAndExports")}</a>
      <${Download} model=${job.fine_tuned_model} />
      <div class="muted">${t("cost", { tokens: number(job.trained_tokens), time: timeText(job) })}</div></div>`;
  }
  if (job.status === "paused") return html`<div class="notice">${t("pausedHint")}</div>`;
  if (queue) return html`<div class="notice">${queueText(queue)}${queue.jobs_ahead.length > 0 && html`: ${queue.jobs_ahead.map((/** @type {string} */ ahead) =>
    html`<a class="id" href=${`#/job/${ahead}`}>${ahead}</a> `)}`}</div>`;
  if (!progress) return job.status === "running" ? html`<div class="notice" role="status">${t("starting")}</div>` : null;
  const { step, total_steps: total } = progress;
  return html`<div class="progress wide"><${Bar} share=${step / total} label=${t("stepOf", { step, total })} />
    <span>${t("stepOf", { step, total })}</span> <span class="muted">${timeText(job)}</span></div>`;
}

/** What went wrong, on which line, and what helps. @param {{ view: any }} props */
function Failure({ view: { job, failure } }) {
  const isOfFile = /file/.test(`${job.error?.param} ${job.error?.code}`);
  const fileId = job.error?.param === "validation_file" ? job.validation_file : job.training_file;
  const { data } = usePolled(async () => {
    if (!isOfFile) return null;
    const path = encodeURIComponent(fileId);
    const [file, report] = await Promise.all([get(`/files/${path}`), get(`/luthier/files/${path}/report`)]);
    return { file, errors: report.findings.filter((/** @type {any} */ finding) => finding.severity === "error") };
  }, [fileId, isOfFile, currentLanguage()]);
  return html`<div class="notice bad"><strong>${t("failure")}</strong><p class="message">${failure}</p>
    ${data && html`<p class="strong">${data.file.filename}</p>
      ${data.errors.slice(0, SHOWN_FINDINGS).map((/** @type {any} */ finding) => html`<${Finding} finding=${finding} />`)}`}
    ${isOfFile && html`<a href=${`#/file/${fileId}?findings=1`}>${t("seeFile")}</a>`}</div>`;
}

/** @param {{ view: any, onDone: () => void }} props */
function Actions({ view, onDone }) {
  const { job } = view;
  const [error, attempt] = useAttempt();
  const control = (/** @type {string} */ verb) => attempt(async () => {
    if (verb === "cancel" && !confirm(t("confirmCancel"))) return;
    await post(`/fine_tuning/jobs/${job.id}/${verb}`);
    onDone();
  });
  const rename = () => attempt(async () => { if (await renameJob(view)) onDone(); });
  const drop = () => attempt(async () => { if (await deleteJob(view)) location.hash = "#/jobs"; });
  const button = (/** @type {string} */ verb, style = "ghost") => html`<button class=${style} onClick=${() => control(verb)}>${t(verb)}</button>`;
  return html`<div class="actions"><${ErrorBox} error=${error} />
    ${["queued", "running"].includes(job.status) && button("pause")}
    ${job.status === "paused" && button("resume", "")}
    ${!FINAL.includes(job.status) && button("cancel", "ghost bad")}
    <button class="ghost" onClick=${rename}>${t("rename")}</button>
    ${FINAL.includes(job.status) && html`<button class="ghost bad" onClick=${drop}>${t("remove")}</button>`}</div>`;
}

/** @param {{ model: string }} props */
const ModelLinks = ({ model }) => html`<a href=${`#/playground?model=${encodeURIComponent(model)}`}>${t("tryIt")}</a>${" "}
  <a href=${`#/new-job?model=${encodeURIComponent(model)}`}>${t("continueFrom")}</a>`;

/** The adapter of a model as an archive. @param {{ model: string }} props */
export function Download({ model }) {
  const [error, attempt] = useAttempt();
  const fetchIt = () => attempt(() => download(`/luthier/models/${encodeURIComponent(model)}/content`, `${model.replace(/[^\w.-]+/g, "-")}.zip`));
  return html`<button class="small ghost" onClick=${fetchIt}>${t("downloadModel")}</button><${ErrorBox} error=${error} />`;
}

/** @param {{ checkpoints: any[], best: any, isOver: boolean }} props */
function Checkpoints({ checkpoints, best, isOver }) {
  if (!checkpoints.length) return html`<p class="muted">${t(isOver ? "leftNoCheckpoints" : "noCheckpoints")}</p>`;
  const loss = (/** @type {any} */ entry) => entry.metrics.full_valid_loss ?? entry.metrics.valid_loss ?? entry.metrics.train_loss;
  return html`<table class="stack"><tbody>${checkpoints.map((entry) => html`<tr key=${entry.id}>
    <td>${t("step")} ${entry.step_number} ${entry === best && html`<span class="status succeeded">${t("best")}</span>`}
      <div class="muted id">${entry.fine_tuned_model_checkpoint}</div></td>
    <td class="number">${loss(entry)?.toFixed(4)}</td>
    <td class="links"><${ModelLinks} model=${entry.fine_tuned_model_checkpoint} />${best && entry !== best && html`
      <a href=${`#/playground?model=${encodeURIComponent(entry.fine_tuned_model_checkpoint)}&with=${encodeURIComponent(best.fine_tuned_model_checkpoint)}`}>${t("compareBest")}</a>`}</td></tr>`)}</tbody></table>`;
}

/** @param {{ view: any }} props */
function Settings({ view }) {
  const { job } = view;
  const [error, attempt] = useAttempt();
  const file = (/** @type {string | null} */ fileId) => (fileId ? html`<a class="id" href=${`#/file/${fileId}`}>${fileId}</a>` : t("none"));
  const results = (/** @type {string} */ fileId) => attempt(async () => {
    const content = await (await request(`/files/${fileId}/content`)).text();
    save(/^[A-Za-z0-9+/=\s]+$/.test(content) ? Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)) : content, `${job.id}.csv`);
  });
  const rows = [
    [t("base"), view.base], [t("model"), job.model], [t("method"), t(job.method.type)],
    ...Object.entries(job.hyperparameters).map(([name, value]) => [settingName(name), value === "auto" ? t("auto") : value]), [t("seed"), job.seed],
    [t("trainingFile"), file(job.training_file)], [t("validationFile"), file(job.validation_file)],
    ...Object.entries(job.metadata ?? {}), [t("trainedTokens"), number(job.trained_tokens)],
    [t("created"), date(job.created_at)], [t("finished"), date(job.finished_at)],
  ];
  return html`<${ErrorBox} error=${error} /><table><tbody>${rows.map(([name, value]) =>
    html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table>
    ${job.result_files.map((/** @type {string} */ fileId) => html`<button class="small ghost" onClick=${() => results(fileId)}>${t("resultFile")}</button>`)}`;
}
