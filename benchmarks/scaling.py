"""How a job scales over ranks, the queue over workers, and adapters over replicas of an engine.

    python benchmarks/scaling.py                                      all three
    python benchmarks/scaling.py --parts ranks --layers 8 --steps 16
    python benchmarks/scaling.py --parts claims --store postgresql://HOST/NAME

Ranks: the trainer's own program on a Llama with random weights, in float32 on the CPU, by 1, 2 and 4 processes that
share the threads, whole and sharded (FSDP2), in turns. Seconds are medians of steps; CPU seconds are those of all
processes between the first step and the last; losses are compared with those of one process.

Claims: those of benchmarks/claims.py.

Routing: the engine vllm before two stand-ins of vLLM's server, which answer at once and count loads. Clients ask in a
closed loop, one adapter of many each time, drawn by Zipf's law. A hit is a request whose replica had its adapter.
"""

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "inference")]

from machine import describe_machine  # noqa: E402
from vllm_stand_in import running  # noqa: E402

from luthier.inference import EngineRequest, SamplingParams  # noqa: E402
from luthier.inference.engine import Token  # noqa: E402
from luthier.inference.engines.vllm import replicas  # noqa: E402
from luthier.inference.engines.vllm.engine import VllmEngine  # noqa: E402
from luthier.inference.engines.vllm.routing import ReplicaLoad, choose  # noqa: E402
from luthier.inference.options import EngineOptions, VllmOptions  # noqa: E402
from luthier.training.job_spec import JobSpec  # noqa: E402
from tiny import make_tiny_base  # noqa: E402

BATCH_SIZE, EXAMPLES, DIGITS = 16, 64, 100
CASES = ((1, False), (2, False), (4, False), (2, True), (4, True))  # processes, sharded


@dataclass
class RankRuns:
    """Of one case, over its rounds. `local_mb`: of frozen weights, in the first process."""

    step_s: list[float] = field(default_factory=list)
    tokens_per_cpu_s: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    local_mb: float = 0.0


def measure_ranks(options: argparse.Namespace) -> None:
    runs = {case: RankRuns() for case in CASES}
    with tempfile.TemporaryDirectory() as name:
        base = make_tiny_base(Path(name) / "base", layers=options.layers, width=options.width)
        whole_mb = (base / "model.safetensors").stat().st_size / 1e6
        for turn in range(options.rounds):
            for number, (processes, is_sharded) in enumerate(CASES):
                folder = Path(name) / f"job-{turn}-{number}"
                _write_job(folder, base, options, processes=processes, shard_base=is_sharded)
                _train(folder, runs[processes, is_sharded], whole_mb)
    print("| processes | base | seconds a step | tokens per CPU second | losses apart, relative | MB of weights each |")
    print("|---|---|---|---|---|---|")
    alone = runs[CASES[0]].losses
    for (processes, is_sharded), run in runs.items():
        apart = max(abs(loss / other - 1) for loss, other in zip(run.losses, alone, strict=True))
        print(
            f"| {processes} | {'sharded' if is_sharded else 'whole'} | {statistics.median(run.step_s):.2f} "
            f"| {statistics.median(run.tokens_per_cpu_s):.0f} | {apart:.1e} | {run.local_mb:.1f} |"
        )


def _write_job(folder: Path, base: Path, options: argparse.Namespace, **fields: Any) -> None:
    folder.mkdir()
    chance = random.Random(0)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(EXAMPLES):
            texts = ["".join(str(chance.randrange(10)) for _ in range(DIGITS)) for _ in range(2)]
            turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
            file.write(json.dumps({"messages": turns}) + "\n")
    epochs = -(-options.steps * BATCH_SIZE // EXAMPLES)
    hyperparameters = {"n_epochs": epochs, "batch_size": BATCH_SIZE}
    common: dict[str, Any] = {"seed": 1, "device": "cpu", "precision": "float32", "threads": options.threads}
    spec = JobSpec(base=str(base), base_name="random", hyperparameters=hyperparameters, **common, **fields)
    spec.write(folder)


def _train(folder: Path, run: RankRuns, whole_mb: float) -> None:
    """The steps after the first one are measured."""
    command = [sys.executable, "-m", "luthier.training", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    times, cpu_s, losses, tokens_per_step = [], [], [], 0.0
    run.local_mb = whole_mb
    for event in map(json.loads, process.stdout):
        match event["type"]:
            case "resolved":
                tokens_per_step = event["tokens"] / event["examples"] * BATCH_SIZE
            case "sharded_base":
                run.local_mb = whole_mb * event["local"] / event["weights"]
            case "metrics":
                times.append(time.perf_counter())
                cpu_s.append(_cpu_seconds(process.pid))
                losses.append(event["metrics"]["train_loss"])
    if process.wait():
        raise SystemExit(f"the trainer ended with {process.returncode}")
    run.losses = losses
    run.step_s += [after - before for before, after in itertools.pairwise(times)]
    run.tokens_per_cpu_s.append(tokens_per_step * (len(times) - 1) / (cpu_s[-1] - cpu_s[0]))


def _cpu_seconds(pid: int) -> float:
    first = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:2]) for process in (first, *first.children(recursive=True)))


def measure_claims(options: argparse.Namespace) -> None:
    """In a program of its own, whose workers load no PyTorch."""
    store = ["--store", options.store] if options.store else []
    subprocess.run([sys.executable, HERE / "claims.py", "--jobs", str(options.jobs), *store], check=True)


class Answer:
    """Of one token, after a while."""

    finish_reason = "length"

    def __iter__(self) -> Iterator[Token]:
        time.sleep(0.02)
        yield Token(0, -0.1)

    def cancel(self) -> None:
        pass


class StandInEngine:
    """What a stand-in's answers come from."""

    def submit(self, _: EngineRequest) -> Answer:
        return Answer()

    def close(self) -> None:
        pass


Rule = Callable[[Sequence[ReplicaLoad], str | None], int]


def measure_routing(options: argparse.Namespace) -> None:
    print(f"| hit rate, {options.clients} clients, 2 replicas, {options.adapters} adapters | ", end="")
    print(" | ".join(f"{slots} in memory of each" for slots in options.slots) + " |")
    print("|---|" + "---|" * len(options.slots))
    turns = itertools.count()
    chance = random.Random(3)
    rules: dict[str, Rule] = {
        "Luthier's rule": choose,
        "round robin": lambda loads, _: next(turns) % len(loads),
        "random": lambda loads, _: chance.randrange(len(loads)),
    }
    for name, rule in rules.items():
        rates = [_hit_rate(rule, slots, options) for slots in options.slots]
        print(f"| {name} | " + " | ".join(f"{rate:.0%}" for rate in rates) + " |", flush=True)


def _hit_rate(rule: Rule, slots: int, options: argparse.Namespace) -> float:
    """Of the requests after a fifth of them, which fills the replicas."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        base = Path(name)
        adapters = [base / f"adapter-{number}" for number in range(options.adapters)]
        for adapter in adapters:
            adapter.mkdir()
            for file in ("adapter_config.json", "adapter_model.safetensors"):
                (adapter / file).touch()
        servers = [stack.enter_context(running(base, StandInEngine())) for _ in range(2)]
        vllm = VllmOptions(url=",".join(server.url for server in servers))
        stack.enter_context(patch.object(replicas, "choose", rule))
        engine = VllmEngine(base, EngineOptions(max_loras=slots, max_requests_per_key=options.clients, vllm=vllm))
        stack.callback(engine.close)

        def loads() -> int:
            return sum(kind == "load" for server in servers for kind, _ in server.loads)

        _ask(engine, adapters, options.requests // 5, options)
        before, count = loads(), options.requests - options.requests // 5
        _ask(engine, adapters, count, options)
        return 1 - (loads() - before) / count


def _ask(engine: VllmEngine, adapters: Sequence[Path], count: int, options: argparse.Namespace) -> None:
    """`count` requests by all clients together, the same ones for every rule."""
    weights = [1 / (place + 1) ** options.zipf for place in range(len(adapters))]
    drawn = iter(random.Random(count).choices(adapters, weights, k=count))
    lock = threading.Lock()
    greedy = SamplingParams(max_tokens=1, stop_ids=frozenset({1}), temperature=0.0)

    def client() -> None:
        while True:
            with lock:
                adapter = next(drawn, None)
            if adapter is None:
                return
            list(engine.submit(EngineRequest([1, 2, 3], greedy, adapter)))

    threads = [threading.Thread(target=client) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


PARTS = {"ranks": measure_ranks, "claims": measure_claims, "routing": measure_routing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = parser.add_argument
    number("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    number("--layers", type=int, default=6)
    number("--width", type=int, default=576)
    number("--steps", type=int, default=8, help="of each job, to the end of an epoch")
    number("--rounds", type=int, default=2)
    number("--threads", type=int, default=2, help="of all processes of a job together")
    number("--jobs", type=int, default=400, help="that are claimed")
    number("--store", help="URL of an empty PostgreSQL database, for claims")
    number("--clients", type=int, default=32)
    number("--adapters", type=int, default=50)
    number("--slots", type=int, nargs="+", default=[8, 16, 25], help="adapters in memory of a replica")
    number("--requests", type=int, default=2000, help="of each measurement")
    number("--zipf", type=float, default=1.0, help="exponent of the adapters' popularity")
    options = parser.parse_args()
    print(describe_machine(options.threads), flush=True)
    for part in options.parts:
        print(f"\n{part}", flush=True)
        PARTS[part](options)


if __name__ == "__main__":
    main()
