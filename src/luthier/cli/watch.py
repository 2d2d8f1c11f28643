"""`luthier watch`: follows a job until it ends; `watch_job` does the same for other commands.

The job and its new events are polled about once a second. A terminal shows a progress bar with the events above it;
pipes and files get one line per event.
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
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from luthier.cli.client import Connection, open_connection, server_flags
from luthier.cli.i18n import printable
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import QUIET_S, note, print_json, stderr_console, stdout_console, to_json, wrap_text
from luthier.cli.progress_texts import event_text, failure_text, phase_text
from luthier.language import say
from luthier.types.fine_tuning import FINAL

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

POLL_S = 1.0
_MIN_BAR, _MARGIN = 4, 3  # cells
# The client waits up to 8 s before each retry, which leaves time to restart the server of a watched job.
POLL_RETRIES = 6

# The beginnings of events after which a job takes steps again; the second is from servers of earlier releases.
_RESUMED = ("Training resumes", "Training goes on", "The job was resumed")
STYLES = {"warn": "yellow", "error": "red"}
_STEP = re.compile(r"Step (\d+)/(\d+)")

Show = Callable[["FineTuningJob", "list[FineTuningJobEvent]"], None]
StopCondition = Callable[["list[FineTuningJobEvent]"], bool]


class EventFeed:
    """The events of a job, each exactly once and oldest first."""

    def __init__(self, client: openai.OpenAI, job_id: str) -> None:
        self._client, self._job_id = client, job_id
        self._event_ids: set[str] = set()  # already returned

    def new_events(self) -> list[FineTuningJobEvent]:
        """The events since the last call, oldest first.

        The server lists the newest first. Pages are read up to and including the first one with a known event. That
        page is read completely, because events of the same second may change their order.
        """
        events: dict[str, FineTuningJobEvent] = {}
        newest_first = self._client.fine_tuning.jobs.list_events(self._job_id, limit=20 if self._event_ids else 100)
        for page in newest_first.iter_pages():
            new = {event.id: event for event in page.data if event.id not in self._event_ids}
            events |= new
            if len(new) < len(page.data):
                break
        self._event_ids |= events.keys()
        return list(events.values())[::-1]


@dataclass(frozen=True)
class StepMetrics:
    """The content of a metrics event; losses that it does not have are None."""

    step: int
    total: int
    train_loss: float | None
    valid_loss: float | None


def step_metrics(event: FineTuningJobEvent) -> StepMetrics | None:
    """The metrics of an event; None for other events. Without data, the step is parsed from the message."""
    data = event.data if isinstance(event.data, dict) else {}
    if data.get("step") and data.get("total_steps"):
        valid = data.get("full_valid_loss", data.get("valid_loss"))
        return StepMetrics(int(data["step"]), int(data["total_steps"]), data.get("train_loss"), valid)
    match = _STEP.match(event.message)
    return StepMetrics(int(match[1]), int(match[2]), None, None) if match else None


def watch_job(
    client: openai.OpenAI,
    job_id: str,
    console: Console,
    feed: EventFeed | None = None,
    stop: StopCondition | None = None,
) -> FineTuningJob:
    """Shows the progress of a job on `console` until its status is final, and returns the job.

    Args:
        feed: Continues after the events that it has already returned; None starts at the first event.
        stop: Called with new events; watching ends when it returns True.

    Raises:
        openai.OpenAIError, KeyboardInterrupt: Watching ended; the job is not affected.
    """
    job = client.fine_tuning.jobs.retrieve(job_id)
    polling = client.with_options(max_retries=POLL_RETRIES)
    feed = feed or EventFeed(polling, job_id)
    with _progress_bar(console) if console.is_terminal else _event_lines(console) as show:
        while True:
            # The job is read before its events, so that the events of a final job are complete.
            events = feed.new_events()
            show(job, events)
            if job.status in FINAL or (stop and stop(events)):
                return job
            time.sleep(POLL_S)
            job = polling.fine_tuning.jobs.retrieve(job_id)


@contextmanager
def _event_lines(console: Console) -> Iterator[Show]:
    """Yields a function that prints a line per event, and one for a phase without events for `QUIET_S`."""
    progress, announced, last_output = JobProgress(), "", time.monotonic()

    def show(job: FineTuningJob, events: list[FineTuningJobEvent]) -> None:
        nonlocal announced, last_output
        for event in events:
            progress.add(event)
            console.print(_line(event), soft_wrap=True)
        if events:
            last_output = time.monotonic()
        phase = _paused(job) if _is_paused(job) else progress.phase(job)
        is_quiet = progress.is_between_events(job) and time.monotonic() - last_output >= QUIET_S
        if phase != announced and (_is_paused(job) or is_quiet):
            console.print(f"{datetime.now():%H:%M:%S}  {phase}", soft_wrap=True)
            announced = phase
        if job.status == "running" and not progress.is_between_events(job):
            announced = ""

    yield show


@contextmanager
def _progress_bar(console: Console) -> Iterator[Show]:
    """Yields a function that updates a progress bar, which leaves room for the `^C` that the terminal prints."""
    fields = ("steps", "losses", "speed", "remaining")
    bar_column = BarColumn(bar_width=_MIN_BAR)
    columns = (TextColumn("{task.description}", markup=False), bar_column)
    figures = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in fields)
    progress = JobProgress()
    with Progress(*columns, *figures, console=console, refresh_per_second=4) as bar:
        task = bar.add_task("…", total=None, steps="", losses="", speed="", remaining="")

        def show(job: FineTuningJob, events: list[FineTuningJobEvent]) -> None:
            for event in events:
                if not progress.add(event):
                    line = _line(event)
                    line.plain = wrap_text(line.plain, console.width, 10)
                    bar.console.print(line, soft_wrap=True, no_wrap=True)
            phase = _paused(job) if _is_paused(job) else progress.phase(job)
            steps, losses, speed, remaining = texts = progress.figures(job)
            used = sum(map(cell_len, (phase, *texts))) + len(texts) + _MARGIN
            bar_column.bar_width = max(_MIN_BAR, console.width - used - 1)
            bar.update(task, description=phase, steps=steps, losses=losses, speed=speed, remaining=remaining)
            if progress.step:
                bar.update(task, completed=progress.step, total=progress.total)

        yield show


@dataclass
class JobProgress:
    """The progress of a job according to its metrics events so far."""

    step: int = 0
    total: int = 0
    _train_loss: float | None = None
    _valid_loss: float | None = None  # the last measured one, since not every step has one
    _first_metrics: tuple[int, int] | None = None  # step and time of the first metrics event since the job last started
    _last_time: int = 0

    def add(self, event: FineTuningJobEvent) -> bool:
        """Adds an event, and returns whether it is a metrics event."""
        metrics = step_metrics(event)
        if metrics is None:
            # Once steps are taken, a warning means that the trainer or its worker ended.
            is_interruption = event.level == "warn"
            if is_interruption or event.message.startswith(_RESUMED):
                self._first_metrics = None  # the interruption does not count for the mean duration of steps
            return False
        self.step, self.total = metrics.step, metrics.total
        self._first_metrics, self._last_time = self._first_metrics or (metrics.step, event.created_at), event.created_at
        if metrics.train_loss is not None:
            self._train_loss = metrics.train_loss
        if metrics.valid_loss is not None:
            self._valid_loss = metrics.valid_loss
        return True

    def phase(self, job: FineTuningJob) -> str:
        """What the job is doing: its epoch while it trains with a known number of epochs, else its phase."""
        n_epochs = job.hyperparameters.n_epochs if job.hyperparameters else None
        if job.status == "running" and 0 < self.step < self.total and isinstance(n_epochs, int):
            epoch = self.step * n_epochs / self.total
            return say(f"epoch {epoch:.1f}/{n_epochs}", f"第 {epoch:.1f}/{n_epochs} 轮")
        return phase_text(str(job.status), self.step, self.total)

    def figures(self, job: FineTuningJob) -> tuple[str, str, str, str]:
        """Steps, losses, duration of a step, and time left, as texts; empty where unknown."""
        steps = f"{self.step}/{self.total}" if self.step else ""
        return steps, self.losses(), self.speed(job), self.remaining(job)

    def is_between_events(self, job: FineTuningJob) -> bool:
        """Whether the job sends no events now, because it waits, is validated, loads the model or is compared."""
        waits = job.status in ("validating_files", "queued")
        return waits or (job.status == "running" and (not self.step or self.step >= self.total))

    def losses(self) -> str:
        names = ((say("loss", "损失"), self._train_loss), (say("valid", "验证"), self._valid_loss))
        return "  ".join(f"{name} {loss:.3f}" for name, loss in names if loss is not None)

    def speed(self, job: FineTuningJob) -> str:
        """The mean duration of a step since the job last started."""
        duration_s = self._step_duration_s()
        if duration_s is None or job.status != "running" or self.step >= self.total:
            return ""
        text = f"{duration_s:.1f}" if duration_s < 10 else f"{duration_s:.0f}"
        return say(f"{text} s/step", f"{text} 秒/步")

    def _step_duration_s(self) -> float | None:
        if not self._first_metrics or self._last_time <= self._first_metrics[1]:
            return None
        return (self._last_time - self._first_metrics[1]) / (self.step - self._first_metrics[0])

    def remaining(self, job: FineTuningJob) -> str:
        """The time left by the mean duration of steps, else by the server's estimate; empty if both are unknown."""
        if job.status != "running" or not self.step or self.step >= self.total:
            return ""
        duration_s = self._step_duration_s()
        if duration_s is not None:
            finish = self._last_time + duration_s * (self.total - self.step)
        elif job.estimated_finish:
            finish = float(job.estimated_finish)
        else:
            return ""
        return say(f"{_duration(finish - time.time())} left", f"剩 {_duration(finish - time.time())}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line(event: FineTuningJobEvent) -> Text:
    time_of_day = datetime.fromtimestamp(event.created_at).strftime("%H:%M:%S")
    return Text(f"{time_of_day}  {printable(event_text(event.message))}", style=STYLES.get(event.level, ""))


def _is_paused(job: FineTuningJob) -> bool:
    # The type of the client's status does not include "paused".
    return str(job.status) == "paused"


def _paused(job: FineTuningJob) -> str:
    return say(f"paused (luthier jobs resume {job.id})", f"已暂停（恢复：luthier jobs resume {job.id}）")


def print_outcome(job: FineTuningJob) -> int:
    """Prints the outcome of a final job to stderr, and returns the exit code."""
    if job.status == "succeeded":
        tokens = f"{job.trained_tokens or 0:,}"
        note(
            say(f"✓ {job.fine_tuned_model}  ({tokens} tokens)", f"✓ {job.fine_tuned_model}（{tokens} 个 token）"),
            "green",
        )
        return 0
    if job.status == "cancelled":
        note(say(f"{job.id} was cancelled.", f"{job.id} 已取消。"), "yellow")
        return 1
    code = job.error.code if job.error and job.error.code else "error"
    message = job.error.message if job.error and job.error.message else say("no message", "没有错误信息")
    note(say(f"{job.id} failed: {code}", f"{job.id} 失败：{code}"), "red")
    note(failure_text(code, message))
    return 1


@contextmanager
def detaching(connection: Connection, options: Options, job_id: str) -> Iterator[None]:
    """Turns Ctrl-C into exit code 130 and a message about what happens to the job."""
    try:
        yield
    except KeyboardInterrupt:
        command = f"luthier watch {job_id}{server_flags(options)}"
        if connection.embedded:
            folder = connection.data or say("the data folder", "数据文件夹")
            en = (
                f"The job is being saved in {folder}, which takes some seconds, and resumes when a server starts "
                f"there. To resume it: {command}"
            )
            zh = f"任务正在保存到 {folder}，需要几秒钟；服务器在该文件夹上启动后会继续。继续：{command}"
        else:
            en, zh = f"The job continues. To watch it again: {command}", f"任务仍在进行。再次观察：{command}"
        note("\n" + say(en, zh))
        raise click.exceptions.Exit(130) from None


@click.command(
    help=say(
        "Follow a job from its first event until it ends, and print the name of the fine-tuned model. Exit code 1 if "
        "the job fails or is cancelled. Ctrl-C stops watching, not the job.\n\nExample: luthier watch ftjob-abc123",
        "从第一个事件起观察微调任务，直到结束，并打印微调模型的名称；任务失败或被取消时退出码为 1。"
        "Ctrl-C 只停止观察，不停止任务。\n\n例子：luthier watch ftjob-abc123",
    )
)
@click.argument("job_id")
@server_options
@pass_options
def watch(options: Options, job_id: str) -> None:
    with open_connection(options) as connection, detaching(connection, options, job_id):
        job = watch_job(connection.client, job_id, stderr_console())
    code = print_outcome(job)
    if options.json:
        print_json(to_json(job))
    elif job.fine_tuned_model and not (stdout_console().is_terminal and stderr_console().is_terminal):
        click.echo(job.fine_tuned_model)  # on a terminal, the outcome has already printed it
    raise click.exceptions.Exit(code)
