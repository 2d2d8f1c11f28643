"""Metrics beyond requests: engines, jobs, trainers and memory, collected on each scrape.

Names and labels are documented in docs/operating.md.
"""

from collections.abc import Callable, Iterable

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from luthier import __version__
from luthier.devices import GpuMemory, gpu_memory
from luthier.inference.stats import EngineSnapshot, Histogram
from luthier.server.state import AppState
from luthier.store.trainer_usage import Usage
from luthier.types.fine_tuning import FINAL, OPEN


def create_registry() -> CollectorRegistry:
    """Create the registry of one application, with the process's memory, CPU time and open files."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class LuthierCollector(Collector):
    def __init__(self, state: AppState) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Registering the collector reads nothing."""
        return []

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("luthier_build_info", "The release.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._jobs()
        yield from self._trainers()
        free = self._state.store.free_bytes()
        yield GaugeMetricFamily("luthier_data_free_bytes", "Free space of the data folder's disk.", value=free)
        yield from _gpu_memory()
        yield from _engines(self._state.engines.snapshots())

    def _jobs(self) -> Iterable[Metric]:
        counts = self._state.store.jobs.count_by_status()
        jobs = GaugeMetricFamily("luthier_jobs", "Fine-tuning jobs of all projects.", labels=["status"])
        for status in (*OPEN, *FINAL):
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs
        steps = GaugeMetricFamily("luthier_job_step", "The last step of a running job.", labels=["job"])
        totals = GaugeMetricFamily("luthier_job_steps", "All steps of a running job.", labels=["job"])
        running = self._state.store.jobs.ids_with_status("running")
        for job_id, progress in self._state.store.job_metrics.progress(running, points=1).items():
            steps.add_metric([job_id], progress.step)
            totals.add_metric([job_id], progress.total_steps)
        yield from (steps, totals)
        stale = CounterMetricFamily("luthier_stale_writes", "Refused writes of workers that another one had succeeded.")
        store = self._state.store
        stale.add_metric([], store.jobs.queue.count_stale_writes() + store.batches.queue.count_stale_writes())
        yield stale

    def _trainers(self) -> Iterable[Metric]:
        usages = self._state.store.trainer_usage.of_running()
        for name, (text, read) in _TRAINERS.items():
            gauge = GaugeMetricFamily(f"luthier_{name}", text, labels=["job"])
            for job_id, usage in usages.items():
                if (value := read(usage)) is not None:
                    gauge.add_metric([job_id], value)
            yield gauge


_TRAINERS: dict[str, tuple[str, Callable[[Usage], float | None]]] = {
    "job_tokens_per_second": ("Tokens that a running job trains a second.", lambda of: of.tokens_per_second),
    "trainer_resident_memory_bytes": ("Memory of a trainer's processes.", lambda of: of.resident_bytes),
    "trainer_gpu_memory_bytes": ("Memory that a trainer holds of its GPU.", lambda of: of.gpu_bytes),
}
_GPU: dict[str, tuple[str, Callable[[GpuMemory], int]]] = {
    "gpu_memory_bytes": ("Memory of the GPU that this process computes on.", lambda of: of.total_bytes),
    "gpu_memory_free_bytes": ("Memory of that GPU that nobody uses.", lambda of: of.free_bytes),
    "gpu_memory_held_bytes": ("Memory of that GPU that this process holds.", lambda of: of.held_bytes),
}


def _gpu_memory() -> Iterable[Metric]:
    """GPU memory; without values if this process does not use a GPU."""
    gpu = gpu_memory()
    for name, (text, read) in _GPU.items():
        yield GaugeMetricFamily(f"luthier_{name}", text, value=read(gpu) if gpu else None)


_Read = Callable[[EngineSnapshot], int | None]
_GAUGES: dict[str, tuple[str, _Read]] = {
    "running_sequences": ("Sequences that have a place in the KV cache.", lambda of: of.running),
    "waiting_sequences": ("Sequences and prompt tasks that wait.", lambda of: of.waiting),
    "adapters": ("Adapters in memory.", lambda of: of.adapters),
    "kv_blocks": ("Blocks of the paged KV cache.", lambda of: of.kv_blocks),
    "kv_blocks_free": ("Blocks that no sequence and no prefix uses.", lambda of: of.kv_blocks_free),
}
_COUNTERS: dict[str, tuple[str, _Read]] = {
    "prompt_tokens": ("Prompt tokens of sequences that got a token.", lambda of: of.throughput.prompt_tokens),
    "cached_prompt_tokens": ("Those found in the prefix cache.", lambda of: of.throughput.cached_tokens),
    "generated_tokens": ("Sampled tokens.", lambda of: of.throughput.generated_tokens),
}


def _engines(snapshots: dict[str, EngineSnapshot]) -> Iterable[Metric]:
    for family, table in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
        for name, (text, read) in table.items():
            metric = family(f"luthier_engine_{name}", text, labels=["base"])
            for base, snapshot in snapshots.items():
                if (value := read(snapshot)) is not None:
                    metric.add_metric([base], value)
            yield metric
    first_token = HistogramMetricFamily(
        "luthier_engine_time_to_first_token_seconds", "From submission to the first token.", labels=["base"]
    )
    for base, snapshot in snapshots.items():
        histogram = snapshot.throughput.time_to_first_token
        first_token.add_metric([base], _cumulative(histogram), histogram.total)
    yield first_token


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """Prometheus's buckets: each counts all values up to its bound."""
    buckets, count = [], 0
    for bound, in_bucket in zip([*map(str, histogram.bounds), "+Inf"], histogram.counts, strict=True):
        count += in_bucket
        buckets.append((bound, float(count)))
    return buckets
