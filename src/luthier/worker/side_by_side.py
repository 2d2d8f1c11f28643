"""Which jobs train concurrently: up to the number in the settings, as long as their memory fits into the free
memory."""

from collections.abc import Collection

from luthier.catalogue.rates import read_rates
from luthier.hardware import available_memory
from luthier.store import Job
from luthier.types import clock
from luthier.weights import count_parameters
from luthier.worker.context import WorkerContext
from luthier.worker.trainer_hardware import TrainerHardware

_PROGRAM_BYTES = 3 * 1024**3 // 2  # Python, PyTorch, and the activations of a micro-batch
_LORA_BYTES_PER_WEIGHT, _FULL_BYTES_PER_WEIGHT = 4, 18
_MARGIN = 1.1  # examples may be longer than those of the measured jobs


class TrainingMemory:
    """Decides whether there is memory for one more trainer beside those of this worker.

    The memory of a trainer that has recorded a step is included in the machine's used memory; that of a trainer that
    has just started is not, and is added in full. GPU memory is not considered.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context, self._hardware = context, TrainerHardware.of(context.settings)
        self._is_local = context.settings.launcher == "local"
        self._started: dict[str, tuple[Job, float]] = {}  # by job id, with the time of its claim

    @property
    def most_jobs(self) -> int:
        return self._hardware.trainers

    def has_room(self, job: Job, running: Collection[str]) -> bool:
        """Whether `job` may train beside the jobs `running`; always if there are none, and if Ray selects the node."""
        if not self._is_local:
            return True
        self._started = {job_id: start for job_id, start in self._started.items() if job_id in running}
        last_step_at = self._context.store.job_metrics.last_step_at
        starting = [started for started, started_at in self._started.values() if last_step_at(started.id) <= started_at]
        return not self._started or sum(map(self.of, [job, *starting])) <= available_memory()

    def starts(self, job: Job) -> None:
        """Record that `job` is claimed and its trainer starts now."""
        self._started[job.id] = (job, clock.CLOCK.time())

    def of(self, job: Job) -> int:
        """The expected bytes of all its processes: the peak of similar earlier jobs, otherwise an estimate from its
        base model."""
        if not self._context.catalogue.ready(job.base):  # the run reports it
            return _PROGRAM_BYTES
        folder, full = self._context.catalogue.folder(job.base), job.options.tuning == "full"
        rates = read_rates(self._context.catalogue.cache, self._hardware.rate_key(folder, full=full))
        peaks = [rate.peak_memory_bytes or 0 for rate in rates]
        if any(peaks):
            return int(_MARGIN * max(peaks)) * self._hardware.processes
        per_weight = _FULL_BYTES_PER_WEIGHT if full else _LORA_BYTES_PER_WEIGHT
        return (_PROGRAM_BYTES + per_weight * count_parameters(folder)) * self._hardware.processes
