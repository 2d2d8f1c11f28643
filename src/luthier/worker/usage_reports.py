"""Reports the resource usage and speed of a running trainer to the store, every few seconds."""

from collections import deque
from collections.abc import Callable
from time import monotonic

from luthier.store import Job, Store
from luthier.store.trainer_usage import Usage
from luthier.training import protocol
from luthier.worker.trainer_process import TrainerProcess

_EVERY_S = 5.0
_WINDOW_S = 60.0  # of steps that the speed is measured over


class UsageReports:
    def __init__(self, job: Job, store: Store, trainer: TrainerProcess, clock: Callable[[], float] = monotonic) -> None:
        self._job_id, self._reports, self._trainer, self._clock = job.id, store.trainer_usage, trainer, clock
        self._steps: deque[tuple[float, int]] = deque()  # when each ended, and its tokens
        self._reported_s = -_EVERY_S

    def add(self, event: protocol.Metrics) -> None:
        """Called for each step. Raises what the store raises."""
        now_s = self._clock()
        self._steps.append((now_s, event.tokens))
        while len(self._steps) > 2 and now_s - self._steps[0][0] > _WINDOW_S:
            self._steps.popleft()
        if now_s - self._reported_s < _EVERY_S:
            return
        self._reported_s = now_s
        usage = Usage(self._tokens_per_second(), self._trainer.resident_bytes(), event.gpu_bytes)
        self._reports.write(self._job_id, usage)

    def _tokens_per_second(self) -> float | None:
        """The rate since the end of the first step in the window, whose tokens were trained before."""
        duration_s = self._steps[-1][0] - self._steps[0][0]
        tokens = sum(tokens for _, tokens in self._steps) - self._steps[0][1]
        return tokens / duration_s if duration_s > 0 else None
