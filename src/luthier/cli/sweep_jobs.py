"""Runs the jobs of a sweep one after the other, as a grid or with successive halving.

Halving pauses and resumes jobs, so that no step is trained twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import Connection, server_flags
from luthier.cli.options import Options
from luthier.cli.output import note, stderr_console
from luthier.cli.progress_texts import status_text
from luthier.cli.watch import EventFeed, watch_job
from luthier.language import say
from luthier.types.fine_tuning import FINAL
from luthier.types.job_options import step_at

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

ROUNDS = (0.25, 0.5)  # the fractions of the steps after which halving ranks the jobs


@dataclass
class Trial:
    """A combination of hyperparameters and its job.

    Attributes:
        curve: The full validation losses, as (step, loss).
        losses: Fraction of the steps → validation loss of that round.
    """

    parameters: dict[str, Any]
    job: FineTuningJob | None = None
    feed: EventFeed | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: dict[float, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.parameters.items())

    def loss(self, fraction: float) -> float:
        """The validation loss of a round; infinity for a failed job, or if it was not measured."""
        failed = self.job is not None and self.job.status in ("failed", "cancelled")
        return float("inf") if failed else self.losses.get(fraction, float("inf"))

    def record(self, event: FineTuningJobEvent) -> None:
        """Records the validation loss of an event. The first one of a round counts, since a job pauses a bit later."""
        data = event.data if isinstance(event.data, dict) else {}
        if data.get("full_valid_loss") is None:
            return
        step, loss = int(data["step"]), float(data["full_valid_loss"])
        self.curve.append((step, loss))
        for fraction in ROUNDS:
            if step >= step_at(fraction, int(data["total_steps"])):
                self.losses.setdefault(fraction, loss)


class Trials(list[Trial]):
    """The trials of a sweep; `create` creates the job of a combination."""

    def __init__(
        self,
        client: openai.OpenAI,
        combinations: Sequence[dict[str, Any]],
        create: Callable[[dict[str, Any]], FineTuningJob],
    ) -> None:
        super().__init__(map(Trial, combinations))
        self._client, self._create = client, create

    def run_all(self) -> None:
        """Trains every combination to the end."""
        for number, trial in enumerate(self, 1):
            title = say(f"Job {number} of {len(self)}: {trial}", f"第 {number}/{len(self)} 个任务：{trial}")
            self._run(trial, title)

    def run_halving(self) -> None:
        """Successive halving: after each round the worse half is cancelled."""
        remaining: list[Trial] = list(self)
        for fraction in ROUNDS:
            for trial in remaining if len(remaining) > 1 else ():
                percent = f"{100 * fraction:.0f} %"
                title = say(f"Training to {percent} of the steps: {trial}", f"训练到总步数的 {percent}：{trial}")
                self._run(trial, title, fraction)
            remaining.sort(key=lambda trial: trial.loss(fraction))
            survivors = (len(remaining) + 1) // 2
            for trial in remaining[survivors:]:
                self._cancel(trial)
            remaining = remaining[:survivors]
        for trial in remaining:
            self._run(trial, say(f"Training to the end: {trial}", f"训练到结束：{trial}"))

    def _run(self, trial: Trial, title: str, fraction: float | None = None) -> None:
        """Creates or resumes a job, and pauses it after a fraction of its steps (None: lets it end)."""
        jobs = self._client.fine_tuning.jobs
        if trial.job is None:
            trial.job = self._create(trial.parameters)
            trial.feed = EventFeed(self._client, trial.job.id)
        elif trial.job.status in FINAL:
            return
        else:
            jobs.resume(trial.job.id)
        note(title)

        def round_is_over(events: list[FineTuningJobEvent]) -> bool:
            for event in events:
                trial.record(event)
            return fraction in trial.losses

        trial.job = watch_job(self._client, trial.job.id, stderr_console(), trial.feed, round_is_over)
        if trial.job.status not in FINAL:
            trial.job = self._pause(trial)

    def _pause(self, trial: Trial) -> FineTuningJob:
        import openai

        assert trial.job is not None  # noqa: S101 - the trial is running
        try:
            self._client.fine_tuning.jobs.pause(trial.job.id)
        except openai.BadRequestError:  # the job has ended in the meantime
            return watch_job(self._client, trial.job.id, stderr_console(), trial.feed)
        return self._client.fine_tuning.jobs.retrieve(trial.job.id)

    def _cancel(self, trial: Trial) -> None:
        if trial.job is not None and trial.job.status not in FINAL:
            trial.job = self._client.fine_tuning.jobs.cancel(trial.job.id)
            note(say(f"Cancelled: {trial}", f"已取消：{trial}"))


@contextmanager
def detaching_all(connection: Connection, options: Options, trials: Trials) -> Iterator[None]:
    """Turns Ctrl-C into exit code 130 and a message about what happens to the jobs."""
    try:
        yield
    except KeyboardInterrupt:
        flags = server_flags(options)
        note("")
        for trial in trials:
            if trial.job is not None:
                job = connection.client.fine_tuning.jobs.retrieve(trial.job.id)
                note(f"{job.fine_tuned_model or job.id}  {status_text(job.status)}  {trial}")
        if connection.embedded:
            folder = connection.data or say("the data folder", "数据文件夹")
            note(
                say(
                    f"The jobs are saved in {folder}; start a server there.",
                    f"任务保存在 {folder}，请在其上启动服务器。",
                )
            )
        note(
            say(
                f"A running job continues: luthier watch JOB{flags}. Resume a paused job: luthier jobs resume "
                f"JOB{flags}. Cancel a job: luthier jobs cancel JOB{flags}.",
                f"运行中的任务会继续：luthier watch JOB{flags}。"
                f"恢复已暂停的任务：luthier jobs resume JOB{flags}。"
                f"取消任务：luthier jobs cancel JOB{flags}。",
            )
        )
        raise click.exceptions.Exit(130) from None
