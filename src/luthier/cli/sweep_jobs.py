"""The jobs of a sweep, one after the other: each to its end, or in rounds of which the better half stays.

A paused job goes on as if nothing had happened, so what is trained in one round is not trained again in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import Connection, same_server
from luthier.cli.options import Options
from luthier.cli.output import note, notices
from luthier.cli.watch import EventFeed, watch_job
from luthier.language import say
from luthier.types.fine_tuning import FINAL
from luthier.types.job_options import step_at

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

ROUNDS = (0.25, 0.5)  # after these shares of its steps a job is ranked


@dataclass
class Trial:
    """One combination. `curve`: (step, full validation loss); `losses`: those by which the rounds rank, by share."""

    chosen: dict[str, Any]
    job: FineTuningJob | None = None
    feed: EventFeed | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: dict[float, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.chosen.items())

    def loss(self, share: float) -> float:
        """Of a job that failed, or has none, infinity."""
        failed = self.job is not None and self.job.status in ("failed", "cancelled")
        return float("inf") if failed else self.losses.get(share, float("inf"))

    def note(self, event: FineTuningJobEvent) -> None:
        """Later events of a round that was over change nothing: a job is paused a few steps after it."""
        data = event.data if isinstance(event.data, dict) else {}
        if data.get("full_valid_loss") is None:
            return
        step, loss = int(data["step"]), float(data["full_valid_loss"])
        self.curve.append((step, loss))
        for share in ROUNDS:
            if step >= step_at(share, int(data["total_steps"])):
                self.losses.setdefault(share, loss)


class Trials(list[Trial]):
    def __init__(
        self,
        client: openai.OpenAI,
        combinations: Sequence[dict[str, Any]],
        create: Callable[[dict[str, Any]], FineTuningJob],
    ) -> None:
        super().__init__(Trial(chosen) for chosen in combinations)
        self._client, self._create = client, create

    def all(self) -> None:
        for number, trial in enumerate(self, 1):
            named = say(f"Job {number} of {len(self)}: {trial}", f"第 {number}/{len(self)} 个任务：{trial}")
            self._go(trial, named)

    def halved(self) -> None:
        """A quarter of the steps for all, half of them for the better half, the rest for the better half of those."""
        left: list[Trial] = list(self)
        for share in ROUNDS:
            for trial in left if len(left) > 1 else ():
                per_cent = f"{100 * share:.0f} %"
                self._go(
                    trial, say(f"To {per_cent} of its steps: {trial}", f"训练到总步数的 {per_cent}：{trial}"), share
                )
            left.sort(key=lambda trial: trial.loss(share))
            kept = (len(left) + 1) // 2
            for trial in left[kept:]:
                self._drop(trial)
            left = left[:kept]
        for trial in left:
            self._go(trial, say(f"To its end: {trial}", f"训练到结束：{trial}"))

    def _go(self, trial: Trial, named: str, share: float | None = None) -> None:
        """On to a share of its steps, where it is paused; else to its end."""
        jobs = self._client.fine_tuning.jobs
        if trial.job is None:
            trial.job = self._create(trial.chosen)
            trial.feed = EventFeed(self._client, trial.job.id)
        elif trial.job.status in FINAL:
            return
        else:
            jobs.resume(trial.job.id)
        note(named)

        def enough(events: list[FineTuningJobEvent]) -> bool:
            for event in events:
                trial.note(event)
            return share in trial.losses

        trial.job = watch_job(self._client, trial.job.id, notices(), trial.feed, enough)
        if trial.job.status not in FINAL:
            trial.job = self._paused(trial)

    def _paused(self, trial: Trial) -> FineTuningJob:
        import openai

        assert trial.job is not None  # noqa: S101 - only called for one that runs
        try:
            self._client.fine_tuning.jobs.pause(trial.job.id)
        except openai.BadRequestError:  # it ended in the meantime
            return watch_job(self._client, trial.job.id, notices(), trial.feed)
        return self._client.fine_tuning.jobs.retrieve(trial.job.id)

    def _drop(self, trial: Trial) -> None:
        if trial.job is not None and trial.job.status not in FINAL:
            trial.job = self._client.fine_tuning.jobs.cancel(trial.job.id)
            note(say(f"Dropped: {trial}", f"淘汰：{trial}"))


@contextmanager
def leaving_all(connection: Connection, options: Options, trials: Trials) -> Iterator[None]:
    """Ctrl-C inside it ends the command with code 130 and says what becomes of each job."""
    try:
        yield
    except KeyboardInterrupt:
        flags = same_server(options)
        note("")
        for trial in trials:
            if trial.job is not None:
                job = connection.client.fine_tuning.jobs.retrieve(trial.job.id)
                note(f"{job.fine_tuned_model or job.id}  {job.status}  {trial}")
        if connection.embedded:
            folder = connection.data or say("the data folder", "数据文件夹")
            note(
                say(f"The jobs stay in {folder} and wait for a server there.", f"任务保存在 {folder}，等待服务器启动。")
            )
        note(
            say(
                f"A running job goes on to its end: luthier watch JOB{flags}. A paused one waits: luthier jobs resume "
                f"JOB{flags}. Or end it: luthier jobs cancel JOB{flags}.",
                f"运行中的任务会继续到结束：luthier watch JOB{flags}。"
                f"已暂停的任务等待恢复：luthier jobs resume JOB{flags}。"
                f"也可以结束它：luthier jobs cancel JOB{flags}。",
            )
        )
        raise click.exceptions.Exit(130) from None
