"""Capacity of a cluster, by discrete-event simulation: which replica has an adapter, and how long jobs wait.

    python benchmarks/capacity.py [--models 10000] [--requests 10000] [--jobs 1000] [--seconds 20] [--json FILE]

Serving: requests arrive as a Poisson process; the model of each is drawn by Zipf's law. A replica holds the adapters
that were used last; another one is loaded from its local cache or, at its first use there, from the blob store. Each
routing rule sees the same requests: `locality` is the rule of the engine vllm (inference/engines/vllm/routing.py),
`locality, 8 API servers` the same where each server knows its own generations only. A request occupies one place of
its replica; the time of an answer is its tokens at the rate of one sequence in a full batch.

Training: jobs arrive over a day with its working hours, their lengths are lognormal; first come, first served on so
many workers. Store: transactions a second, from what each job, poll and request writes and reads.

Constants are options; docs/capacity.md says where each comes from. No figure is of a cluster that ran.
"""

import argparse
import heapq
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.inference.engines.vllm.routing import ReplicaLoad, choose
from luthier.types.shared_buckets import ALLOWANCE_S


class Replica:
    """`running`: generations by API server; `places`: what it runs at once, the others wait."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.running = [0] * options.api_servers
        self.free_at = [0.0] * options.places
        self.adapters: OrderedDict[int, None] = OrderedDict()
        self.cached: set[int] = set()

    def load_seconds(self, adapter: int) -> float:
        """Until the adapter is in memory; it is the last used then."""
        if adapter in self.adapters:
            self.adapters.move_to_end(adapter)
            return 0.0
        self.adapters[adapter] = None
        if len(self.adapters) > self.options.adapters_in_memory:
            self.adapters.popitem(last=False)
        seconds = self.options.load_cached_s if adapter in self.cached else self.options.load_blob_s
        self.cached.add(adapter)
        return float(seconds)


Rule = Callable[[Sequence[Replica], int, int, np.random.Generator], int]


def by_locality(replicas: Sequence[Replica], adapter: int, api_server: int, _: np.random.Generator) -> int:
    loads = [
        ReplicaLoad(replica.name, replica.running[api_server], adapter in replica.adapters) for replica in replicas
    ]
    return choose(loads, str(adapter))


def at_random(replicas: Sequence[Replica], _: int, __: int, rng: np.random.Generator) -> int:
    return int(rng.integers(len(replicas)))


def least_loaded(replicas: Sequence[Replica], _: int, api_server: int, __: np.random.Generator) -> int:
    return min(range(len(replicas)), key=lambda index: replicas[index].running[api_server])


@dataclass(frozen=True)
class ServingResult:
    """Shares of the requests, seconds from arrival to the start of the answer, and loads per second."""

    rule: str
    hit_rate: float
    p50_wait_s: float
    p99_wait_s: float
    blob_loads_per_s: float
    cache_loads_per_s: float
    busiest_over_mean: float


def serve(name: str, rule: Rule, api_servers: int, options: argparse.Namespace) -> ServingResult:
    """The first quarter of the time fills caches and is not counted."""
    rng = np.random.default_rng(options.seed)
    count = round(options.requests * options.seconds)
    arrivals = np.cumsum(rng.exponential(1 / options.requests, count))
    weights = 1 / np.arange(1, options.models + 1) ** options.zipf
    adapters = rng.choice(options.models, size=count, p=weights / weights.sum())
    tokens = rng.exponential(options.answer_tokens, count) + 1
    replicas = [Replica(f"http://replica-{number}", options) for number in range(options.replicas)]
    _warm(replicas, options)
    ends: list[tuple[float, int, int]] = []  # time, replica, API server
    waits, hits, loads, served = [], 0, {"blob": 0, "cache": 0}, np.zeros(options.replicas)
    start = 0.25 * arrivals[-1]
    for number in range(count):
        now, adapter, api_server = float(arrivals[number]), int(adapters[number]), number % api_servers
        while ends and ends[0][0] <= now:
            _, index, owner = heapq.heappop(ends)
            replicas[index].running[owner] -= 1
        index = rule(replicas, adapter, api_server, rng)
        replica = replicas[index]
        was_cached = adapter in replica.cached
        seconds = replica.load_seconds(adapter)
        place = heapq.heappop(replica.free_at)
        begin = max(now, place) + seconds
        end = begin + float(tokens[number]) / options.tokens_per_s
        heapq.heappush(replica.free_at, end)
        heapq.heappush(ends, (end, index, api_server))
        replica.running[api_server] += 1
        if now >= start:
            waits.append(begin - now)
            hits += seconds == 0
            served[index] += 1
            if seconds:
                loads["cache" if was_cached else "blob"] += 1
    span = float(arrivals[-1] - start)
    return ServingResult(
        name,
        hits / len(waits),
        float(np.quantile(waits, 0.5)),
        float(np.quantile(waits, 0.99)),
        loads["blob"] / span,
        loads["cache"] / span,
        float(served.max() / served.mean()),
    )


def _warm(replicas: Sequence[Replica], options: argparse.Namespace) -> None:
    """Local disks hold what was used before: all adapters, on a share of the replicas."""
    rng = np.random.default_rng(options.seed + 1)
    for replica in replicas:
        replica.cached = set(np.flatnonzero(rng.random(options.models) < options.cached_share).tolist())


@dataclass(frozen=True)
class TrainingResult:
    """Of one day of jobs after a day that is not counted."""

    workers: int
    busy: float
    p50_wait_min: float
    p95_wait_min: float
    longest_wait_min: float


def train(workers: int, options: argparse.Namespace) -> TrainingResult:
    rng = np.random.default_rng(options.seed)
    days = 3
    hours = rng.choice(24, size=days * options.jobs, p=_working_hours())
    day = np.repeat(np.arange(days), options.jobs)
    arrivals = np.sort((day * 24 + hours + rng.random(len(day))) * 3600)
    sigma = options.job_sigma
    lengths = rng.lognormal(np.log(60 * options.job_minutes) - sigma**2 / 2, sigma, len(arrivals))
    free_at = [0.0] * workers
    waits = []
    for arrival, length in zip(arrivals.tolist(), lengths.tolist(), strict=True):
        begin = max(arrival, heapq.heappop(free_at))
        heapq.heappush(free_at, begin + length)
        if arrival >= 24 * 3600:
            waits.append((begin - arrival) / 60)
    busy = float(lengths.sum()) / (workers * days * 24 * 3600)
    p50, p95 = np.quantile(waits, [0.5, 0.95])
    return TrainingResult(workers, busy, float(p50), float(p95), max(waits))


def _working_hours() -> np.ndarray:
    """Shares of a day's jobs by hour: four fifths between 8 and 20."""
    shares = np.full(24, 0.2 / 12)
    shares[8:20] = 0.8 / 12
    return shares


def store_load(options: argparse.Namespace) -> dict[str, float]:
    """Transactions a second by what causes them, on average."""
    jobs_per_s = options.jobs / 86_400
    running = jobs_per_s * 60 * options.job_minutes
    return {
        "events of running jobs": running * options.steps_per_minute / 60,
        "heartbeats of running jobs": running * options.heartbeats_per_s,
        "claims and states of jobs": 12 * jobs_per_s,
        "polls of running jobs": running * options.polls_per_s,
        "workers looking for work": options.workers[-1] * options.claims_per_worker_s,
        "stored completions": options.requests * options.stored_share,
        "rate limits over all servers": min(options.requests, options.keys * options.api_servers / ALLOWANCE_S),
    }


def main() -> None:
    options = _arguments()
    mean_running = options.requests * options.answer_tokens / options.tokens_per_s
    print(
        f"{options.models:,} models, {options.requests:,} requests/s, {options.replicas} replicas of {options.places} "
        f"places ({mean_running / options.replicas / options.places:.0%} busy), "
        f"{options.adapters_in_memory} adapters in memory"
    )
    rules: list[tuple[str, Rule, int]] = [
        ("random", at_random, 1),
        ("least loaded", least_loaded, 1),
        ("locality", by_locality, 1),
        (f"locality, {options.api_servers} API servers", by_locality, options.api_servers),
    ]
    results: dict[str, Any] = {"serving": [], "training": []}
    for name, rule, api_servers in rules:
        result = serve(name, rule, api_servers, options)
        results["serving"].append(asdict(result))
        print(
            f"  {name:26} hits {result.hit_rate:6.1%}  wait p50 {1000 * result.p50_wait_s:6.0f} ms, "
            f"p99 {1000 * result.p99_wait_s:6.0f} ms  from disk {result.cache_loads_per_s:6.0f}/s, "
            f"from the blob store {result.blob_loads_per_s:6.1f}/s  busiest {result.busiest_over_mean:.2f} of the mean",
            flush=True,
        )
    print(f"{options.jobs:,} jobs a day, {options.job_minutes:g} minutes on average")
    for workers in options.workers:
        outcome = train(workers, options)
        results["training"].append(asdict(outcome))
        print(
            f"  {workers:4} workers  busy {outcome.busy:4.0%}  wait p50 {outcome.p50_wait_min:6.1f} min, "
            f"p95 {outcome.p95_wait_min:6.1f}, longest {outcome.longest_wait_min:6.1f}"
        )
    results["store"] = store_load(options)
    print(f"store: {sum(results['store'].values()):,.0f} transactions a second")
    for cause, rate in sorted(results["store"].items(), key=lambda entry: -entry[1]):
        print(f"  {cause:34}{rate:8,.1f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = parser.add_argument
    number("--models", type=int, default=10_000)
    number("--requests", type=float, default=10_000, help="a second")
    number("--jobs", type=int, default=1_000, help="a day")
    number("--seconds", type=float, default=20, help="of serving")
    number("--replicas", type=int, default=120)
    number("--places", type=int, default=256, help="sequences that a replica runs at once (vLLM: max_num_seqs)")
    number("--tokens-per-s", type=float, default=48, help="of one sequence in a full batch")
    number("--answer-tokens", type=float, default=100, help="mean of an answer")
    number("--adapters-in-memory", type=int, default=200, help="per replica")
    number("--load-cached-s", type=float, default=0.08, help="an adapter from the local disk")
    number("--load-blob-s", type=float, default=0.5, help="an adapter from the blob store")
    number("--cached-share", type=float, default=0.5, help="share of the adapters on a replica's disk at the start")
    number("--zipf", type=float, default=1.0, help="exponent of the models' popularity")
    number("--api-servers", type=int, default=8)
    number("--workers", type=int, nargs="+", default=[12, 16, 20, 24, 32])
    number("--job-minutes", type=float, default=15, help="mean length of a job")
    number("--job-sigma", type=float, default=1.0, help="of the logarithm of a job's length")
    number("--steps-per-minute", type=float, default=60)
    number("--heartbeats-per-s", type=float, default=2, help="of a running job (worker/lease.py)")
    number("--polls-per-s", type=float, default=0.2, help="of a running job, by its clients")
    number(
        "--claims-per-worker-s",
        type=float,
        default=13,
        help="of a worker (worker/lane.py)",
    )
    number("--stored-share", type=float, default=0.01, help="of the requests")
    number("--keys", type=int, default=1_000, help="API keys with limits that are busy at a time")
    number("--seed", type=int, default=1)
    number("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
