"""What monitoring reads beyond requests: engines and jobs, collected when it asks.

Names and labels are documented in docs/operating.md.
"""

from collections.abc import Callable, Iterable

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from luthier import __version__
from luthier.inference.stats import EngineSnapshot, Histogram
from luthier.server.state import AppState
from luthier.types.fine_tuning import FINAL, OPEN


def create_registry() -> CollectorRegistry:
    """One for each application, with the process's memory, CPU time and open files."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class LuthierCollector(Collector):
    def __init__(self, state: AppState) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return []

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("luthier_build_info", "The release.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._jobs()
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
        stale.add_metric([], self._state.store.count_stale_writes())
        yield stale


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
