"""A server under a load that does not wait for it: clients that poll, chats and uploads, at fixed times.

    python benchmarks/load.py [--minutes 5] [--pollers 64] [--training without beside] [--base FOLDER] [--json FILE]

64 clients ask for a job every 5 seconds, four chats and one upload begin each second, whether or not those before have
ended (open loop). Latencies count from the time that a request was due, so a server that stalls cannot hide it;
`lag` is how late the generator itself sent them. It is measured without and beside a training job. Memory is the
server's resident memory after the first and after the last minute.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from openai import OpenAI

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests")]

from local_server import resident_mb, serve_process, upload_pairs  # noqa: E402

from tiny import make_tiny_base  # noqa: E402

POLL_EVERY_S, CHATS_PER_S, UPLOADS_PER_S = 5.0, 4, 1
MODEL = "gpt-3.5-turbo"
CONTENT = b"".join(b'{"line": %d}\n' % line for line in range(2000))
WARM_UP_S = 10.0
PREFIX_CACHE_BYTES = 8_000_000  # a cache that still fills looks like growth, and this one is soon full
Send = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@dataclass
class Measured:
    """Seconds of the requests of one kind."""

    latency_s: list[float] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        def percentile(values: list[float], percent: int) -> float:
            return round(1000 * quantiles(values, n=100, method="inclusive")[percent - 1], 1)

        latency, lag = self.latency_s, self.lag_s
        return {
            "requests": len(latency),
            "p50_ms": percentile(latency, 50),
            "p99_ms": percentile(latency, 99),
            "max_ms": round(1000 * max(latency), 1),
            "lag_p99_ms": percentile(lag, 99),
        }


class Generator:
    """Sends requests at fixed times from `start` on; those of the first `WARM_UP_S` are not measured."""

    def __init__(self, client: OpenAI, job_id: str, seconds: float) -> None:
        self._url, self._job_id = str(client.base_url), job_id
        self._headers = {"authorization": f"Bearer {client.api_key}"}
        self._start = time.monotonic() + 0.5
        self._end = self._start + WARM_UP_S + seconds
        self.measured: dict[str, Measured] = {}
        self.errors: Counter[str] = Counter()

    async def run(self, pollers: int) -> None:
        streams = [
            self._at("poll", offset * POLL_EVERY_S / pollers, POLL_EVERY_S, self._poll) for offset in range(pollers)
        ]
        streams.append(self._at("chat", 0.03, 1 / CHATS_PER_S, self._chat))
        streams.append(self._at("upload", 0.13, 1 / UPLOADS_PER_S, self._upload))
        await asyncio.gather(*streams)

    async def _at(self, kind: str, offset_s: float, every_s: float, send: Send) -> None:
        """One client, with connections of its own."""
        measured = self.measured.setdefault(kind, Measured())
        requests: list[asyncio.Task[None]] = []
        async with httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=120) as client:
            for number in count():
                due = self._start + offset_s + number * every_s
                if due > self._end:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                requests.append(asyncio.create_task(self._measure(kind, measured, due, send(client))))
            await asyncio.gather(*requests)

    async def _measure(self, kind: str, measured: Measured, due: float, answer: Awaitable[httpx.Response]) -> None:
        sent = time.monotonic()
        try:
            response = await answer
            if response.status_code != 200:
                self.errors[f"{kind}: {response.status_code} {response.text[:200]}"] += 1
        except httpx.HTTPError as error:
            self.errors[f"{kind}: {error!r}"] += 1
        if due >= self._start + WARM_UP_S:
            measured.latency_s.append(time.monotonic() - due)
            measured.lag_s.append(sent - due)

    async def _poll(self, client: httpx.AsyncClient) -> httpx.Response:
        return await client.get(f"fine_tuning/jobs/{self._job_id}")

    async def _chat(self, client: httpx.AsyncClient) -> httpx.Response:
        body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "odd or even?"}]}
        return await client.post("chat/completions", json={**body, "max_tokens": 16})

    async def _upload(self, client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("files", files={"file": ("a.txt", CONTENT)}, data={"purpose": "user_data"})


@contextmanager
def job(client: OpenAI, *, runs: bool) -> Iterator[str]:
    """The id of a job: one that trains meanwhile, or one that has ended."""
    training_file = upload_pairs(client, 50_000 if runs else 20)
    created = client.fine_tuning.jobs.create(
        model=MODEL, training_file=training_file, hyperparameters={"n_epochs": 50, "batch_size": 256}
    )
    status, awaited = created.status, ("running",) if runs else ("succeeded",)
    while status not in awaited:
        assert status not in ("failed", "cancelled"), f"the job has the status {status}"
        time.sleep(0.5)
        status = client.fine_tuning.jobs.retrieve(created.id).status
    try:
        yield created.id
    finally:
        if runs:
            client.fine_tuning.jobs.cancel(created.id)


async def memory_by_minute(pid: int, minutes: int) -> list[float]:
    """MB at the start, after the first minute, ..."""
    sizes = [resident_mb(pid)]
    for _ in range(minutes):
        await asyncio.sleep(60)
        sizes.append(resident_mb(pid))
    return sizes


async def measure(client: OpenAI, pid: int, job_id: str, options: argparse.Namespace) -> dict[str, Any]:
    generator = Generator(client, job_id, 60 * options.minutes)
    load, cpu_s = os.getloadavg()[0], time.process_time()
    sizes, _ = await asyncio.gather(memory_by_minute(pid, options.minutes), generator.run(options.pollers))
    return {
        "requests": {kind: measured.summary() for kind, measured in generator.measured.items()},
        "errors": dict(generator.errors),
        "memory_mb": sizes,
        "load_before": load,
        "generator_cpu_s": time.process_time() - cpu_s,
    }


def main() -> None:
    options = _options()
    results = {}
    for training in options.training:
        with tempfile.TemporaryDirectory() as scratch:
            base = options.base or make_tiny_base(Path(scratch) / "tiny")
            settings = {"LUTHIER_BASE": str(base), "LUTHIER_PREFIX_CACHE_BYTES": str(PREFIX_CACHE_BYTES)}
            with (
                serve_process(Path(scratch) / "data", settings) as (client, pid),
                job(client, runs=training == "beside") as job_id,
            ):
                result = results[training] = asyncio.run(measure(client, pid, job_id, options))
        print(f"{training} training, {options.minutes} min, load {result['load_before']:.1f} before")
        for kind, summary in result["requests"].items():
            print(f"  {kind:8}", *(f"{name} {value:g}" for name, value in summary.items()), sep="  ")
        first, last = result["memory_mb"][1], result["memory_mb"][-1]
        growth = 100 * (last / first - 1)
        print(f"  memory {first:.0f} MB after minute 1, {last:.0f} MB after minute {options.minutes} ({growth:+.1f} %)")
        print(f"  errors {sum(result['errors'].values())}", *result["errors"], sep="\n    ", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--pollers", type=int, default=64)
    parser.add_argument("--training", nargs="+", choices=("without", "beside"), default=["without", "beside"])
    parser.add_argument("--base", type=Path, help="a model folder; without it a tiny model with random weights")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
