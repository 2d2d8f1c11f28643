"""`luthier watch`: a job followed to its end; `watch_job` is the same for other commands.

Asks for the job and its new events about once a second. On a terminal that makes a progress bar with events above it;
elsewhere one line per event, worded by the server. Knows nothing about who runs the job.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from luthier.cli.client import Connection, open_connection, same_server
from luthier.cli.i18n import printable
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import as_json, note, notices, print_json
from luthier.language import say
from luthier.types.fine_tuning import FINAL

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

POLL_S = 1.0
# The client's own retries wait up to 8 s each: enough for a server to be restarted under a watched job.
PATIENCE = 6

STATUSES = {
    "validating_files": ("validating files", "验证文件"),
    "queued": ("queued", "排队"),
    "running": ("running", "训练"),
    "paused": ("paused", "已暂停"),
    "succeeded": ("succeeded", "成功"),
    "failed": ("failed", "失败"),
    "cancelled": ("cancelled", "已取消"),
}
STYLES = {"warn": "yellow", "error": "red"}
_STEP = re.compile(r"Step (\d+)/(\d+)")

Show = Callable[["FineTuningJob", "list[FineTuningJobEvent]"], None]


Enough = Callable[["list[FineTuningJobEvent]"], bool]


class EventFeed:
    """All events of a job, each exactly once and in order, though the server lists the newest first."""

    def __init__(self, client: openai.OpenAI, job_id: str) -> None:
        self._client, self._job_id = client, job_id
        self._seen: set[str] = set()

    def fresh(self) -> list[FineTuningJobEvent]:
        """The events since the last call, oldest first.

        Pages are read until one holds a known event, and that page to its end: events of one second may trade places.
        """
        found: dict[str, FineTuningJobEvent] = {}
        newest = self._client.fine_tuning.jobs.list_events(self._job_id, limit=20 if self._seen else 100)
        for page in newest.iter_pages():
            fresh = {event.id: event for event in page.data if event.id not in self._seen}
            found |= fresh
            if len(fresh) < len(page.data):
                break
        self._seen |= found.keys()
        return list(found.values())[::-1]


@dataclass(frozen=True)
class Step:
    """One metrics event: losses are None where the event has none."""

    step: int
    total: int
    train_loss: float | None
    valid_loss: float | None


def step_of(event: FineTuningJobEvent) -> Step | None:
    """The step that an event reports, from its data, or from its message where a service sends no data."""
    data = event.data if isinstance(event.data, dict) else {}
    if data.get("step") and data.get("total_steps"):
        valid = data.get("full_valid_loss", data.get("valid_loss"))
        return Step(int(data["step"]), int(data["total_steps"]), data.get("train_loss"), valid)
    match = _STEP.match(event.message)
    return Step(int(match[1]), int(match[2]), None, None) if match else None


def watch_job(
    client: openai.OpenAI, job_id: str, console: Console, feed: EventFeed | None = None, enough: Enough | None = None
) -> FineTuningJob:
    """Shows the job on `console` until it is final, or `enough` says so of new events, and returns it.

    A `feed` that was read before goes on where it was.

    The client's exceptions and KeyboardInterrupt pass through; neither touches the job.
    """
    job = client.fine_tuning.jobs.retrieve(job_id)
    patient = client.with_options(max_retries=PATIENCE)
    feed = feed or EventFeed(patient, job_id)
    with _bar(console) if console.is_terminal else _lines(console) as show:
        while True:
            # The job was read before its events: the events of a final job are complete.
            events = feed.fresh()
            show(job, events)
            if job.status in FINAL or (enough and enough(events)):
                return job
            time.sleep(POLL_S)
            job = patient.fine_tuning.jobs.retrieve(job_id)


@contextmanager
def _lines(console: Console) -> Iterator[Show]:
    shown = ""

    def show(job: FineTuningJob, events: list[FineTuningJobEvent]) -> None:
        nonlocal shown
        for event in events:
            console.print(_line(event), soft_wrap=True)
        if _is_paused(job) and shown != job.status:
            console.print(_paused(job), soft_wrap=True)
        shown = job.status

    yield show


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[steps]}"),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, expand=True, refresh_per_second=4) as progress:
        task = progress.add_task("…", total=None, steps="", losses="")
        losses: dict[str, float] = {}

        def show(job: FineTuningJob, events: list[FineTuningJobEvent]) -> None:
            progress.update(task, description=_paused(job) if _is_paused(job) else _status(job))
            for event in events:
                step = step_of(event)
                if step is None:
                    progress.console.print(_line(event), soft_wrap=True)
                    continue
                _remember(losses, step)
                steps, text = f"{step.step}/{step.total}", _losses(losses)
                progress.update(task, completed=step.step, total=step.total, steps=steps, losses=text)

        yield show


def _remember(losses: dict[str, float], step: Step) -> None:
    """Validation comes every few steps: its last loss stays until the next."""
    if step.train_loss is not None:
        losses["train"] = step.train_loss
    if step.valid_loss is not None:
        losses["valid"] = step.valid_loss


def _losses(losses: dict[str, float]) -> str:
    names = {"train": say("training loss", "训练损失"), "valid": say("validation loss", "验证损失")}
    return "  ".join(f"{name} {losses[key]:.3f}" for key, name in names.items() if key in losses)


def _line(event: FineTuningJobEvent) -> Text:
    time_of_day = datetime.fromtimestamp(event.created_at).strftime("%H:%M:%S")
    return Text(f"{time_of_day}  {printable(event.message)}", style=STYLES.get(event.level, ""))


def _is_paused(job: FineTuningJob) -> bool:
    # The client's type does not know this status.
    return str(job.status) == "paused"


def _status(job: FineTuningJob) -> str:
    return say(*STATUSES.get(job.status, (job.status, job.status)))


def _paused(job: FineTuningJob) -> str:
    return say(f"paused (luthier jobs resume {job.id})", f"已暂停（luthier jobs resume {job.id} 可继续）")


def conclude(job: FineTuningJob) -> int:
    """Says on stderr how a final job ended; the exit code that goes with it."""
    if job.status == "succeeded":
        tokens = f"{job.trained_tokens or 0:,}"
        note(
            say(f"✓ {job.fine_tuned_model}  ({tokens} tokens)", f"✓ {job.fine_tuned_model}（训练词元 {tokens}）"),
            "green",
        )
        return 0
    if job.status == "cancelled":
        note(say(f"{job.id} was cancelled.", f"{job.id} 已取消。"), "yellow")
        return 1
    code = job.error.code if job.error and job.error.code else "error"
    message = job.error.message if job.error and job.error.message else say("no reason given", "没有给出原因")
    note(say(f"{job.id} failed: {code}", f"{job.id} 失败：{code}"), "red")
    note(message)
    return 1


@contextmanager
def leaving(connection: Connection, options: Options, job_id: str) -> Iterator[None]:
    """Ctrl-C inside it ends the command with code 130 and says what becomes of the job."""
    try:
        yield
    except KeyboardInterrupt:
        again = f"luthier watch {job_id}{same_server(options)}"
        if connection.embedded:
            folder = connection.data or say("the data folder", "数据文件夹")
            en = f"The job pauses and stays in {folder}; it goes on when a server starts there. To go on: {again}"
            zh = f"任务暂停，保存在 {folder}；服务器在该文件夹上启动后会继续。继续：{again}"
        else:
            en, zh = f"The job goes on. Watch it again: {again}", f"任务仍在进行。再次观察：{again}"
        note("\n" + say(en, zh))
        raise click.exceptions.Exit(130) from None


@click.command(
    help=say(
        "Follow a job to its end, from its first event. Prints the fine-tuned model's name; exit code 1 if the job "
        "fails or is cancelled. Ctrl-C stops watching, not the job.\n\nExample: luthier watch ftjob-abc123",
        "从第一个事件起观察微调任务，直到结束，打印微调模型的名称；任务失败或被取消时退出码为 1。"
        "Ctrl-C 只停止观察，不停止任务。\n\n例子：luthier watch ftjob-abc123",
    )
)
@click.argument("job_id")
@server_options
@pass_options
def watch(options: Options, job_id: str) -> None:
    with open_connection(options) as connection, leaving(connection, options, job_id):
        job = watch_job(connection.client, job_id, notices())
    code = conclude(job)
    if options.json:
        print_json(as_json(job))
    elif job.fine_tuned_model:
        click.echo(job.fine_tuned_model)
    raise click.exceptions.Exit(code)
