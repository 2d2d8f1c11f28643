"""Serving, side by side in one run: the engine that serving picks, transformers with PEFT, and the xllamacpp server.

    python benchmarks/serving.py [--base FOLDER] [--tokens 64] [--rounds 3] [--beside N] [--tier TIER] [--json FILE]

Greedy, the same prompts, nothing taken from earlier prompts unless the row says so. Adapters are random LoRA adapters
of rank 16 on all linear layers, since speed does not depend on what they learnt; that each changes the answer is
checked for every engine. Engines take turns, so that whatever else the machine does falls on all. Prints medians over
the rounds, and for each row what is asked and whether it is met. xllamacpp is installed once, into an environment of
its own in the cache folder; it serves the base as Q8_0 (`--llama F16` for another) and all its streams one adapter.
`--tier` holds Luthier, PyTorch and oneDNN to a lower CPU tier; xllamacpp cannot be held, its wheel is for AVX2. With
`--cpu` seconds are those that the processes had on the CPUs, for a machine that does other work.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from machine import busy_programs, describe_machine, hold_to_tier
from safetensors.torch import load_file
from serving_llama import LlamaServer
from target_row import Row

from luthier.catalogue import Catalogue
from luthier.data.rendering.renderer import Renderer
from luthier.hardware import cpu_tiers
from luthier.inference import Engine, EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine, select_engine
from luthier.settings import Settings
from luthier.training.compute_device import ComputeDevice
from luthier.training.durable_files import new_folder
from luthier.training.job_spec import JobSpec
from luthier.training.lora.adapter import write as write_adapter
from luthier.training.model import load_model, trainable_parameters
from luthier.types.plain_settings import DEFAULT_BASE

ADAPTERS, STREAMS, LONG, REGISTERED, KEPT = 4, 8, 1500, 200, 8
OURS, PLAIN, LLAMA = "luthier", "transformers", "xllamacpp"
# By CPU tier: one stream, eight streams and the first token relative to xllamacpp, and the share of the bandwidth.
TARGETS = {
    "amx": {"one": 1.3, "streams": 3.5, "first": 12, "bandwidth": 0.65},
    "avx512-bf16": {"one": 1.3, "streams": 2.5, "first": 3.8, "bandwidth": 0.6},
    "avx2": {"one": 1.1, "streams": 1.8, "first": 1.8, "bandwidth": 0.55},
}


class Bench:
    """The engines, and the texts and adapters that all of them are given."""

    def __init__(self, base: Path, scratch: Path, arguments: argparse.Namespace) -> None:
        read = Renderer(base)
        self.short = read.prompt([{"role": "user", "content": "Tell me a long story about a lighthouse."}])
        self.long = (self.short * (LONG // len(self.short) + 1))[:LONG]
        self.base, self.scratch, self.tokens, self.rounds = base, scratch, arguments.tokens, arguments.rounds
        self.adapters = [_adapter(base, scratch / f"adapter-{seed}", seed) for seed in range(ADAPTERS)]
        self.name, self.cpu = arguments.engine, arguments.cpu
        self.weights = arguments.weights
        # A tier without targets of its own has those of the next lower one that has.
        self.targets = next(TARGETS[tier.name] for tier in cpu_tiers() if tier.name in TARGETS)
        self.ours = self.engine(prefix_cache_bytes=0)
        self.plain = build_engine(base, EngineOptions(engine="transformers"))
        self.llama = LlamaServer(base, self.adapters, scratch, Settings().cache, arguments.llama)
        bits = 8.5 if self.ours.eight_bits else 16
        self.nbytes = bits / 16 * sum(file.stat().st_size for file in base.glob("*.safetensors"))
        factors = load_file(self.adapters[0] / "adapter_model.safetensors").values()
        self.adapter_nbytes = 2 * sum(factor.numel() for factor in factors)  # as bfloat16; some tiers read float32

    def engine(self, **options: int) -> Engine:
        return build_engine(self.base, self.options(**options))

    def options(self, **options: int) -> EngineOptions:
        return replace(EngineOptions(engine=self.name, serving_weights=self.weights, max_loras=KEPT), **options)

    def clock(self, name: str) -> float:
        """Seconds, of which differences are measured."""
        if not self.cpu:
            return time.perf_counter()
        return self.llama.cpu_seconds() if name == LLAMA else time.process_time()

    def seconds(self, name: str, work: Callable[[], object]) -> float:
        """That the engine needs for `work`."""
        started = self.clock(name)
        work()
        return self.clock(name) - started

    def medians(self, cases: dict[str, Callable[[], float]]) -> dict[str, float]:
        values: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(self.rounds):
            for name, case in cases.items():
                values[name].append(case())
        return {name: statistics.median(times) for name, times in values.items()}

    def close(self) -> None:
        self.ours.close()
        self.plain.close()
        self.llama.close()


def main() -> None:
    arguments = _arguments()
    hold_to_tier(arguments.tier)
    base = arguments.base or Catalogue(Settings().cache).folder(DEFAULT_BASE)
    print(describe_machine(0), f"{arguments.beside} busy programs beside it", sep=", ", flush=True)
    with tempfile.TemporaryDirectory() as folder, busy_programs(arguments.beside):
        bench = Bench(base, Path(folder), arguments)
        seconds, weights = "CPU seconds" if arguments.cpu else "seconds", "8 bits" if bench.ours.eight_bits else "full"
        print(f"{arguments.engine} is {select_engine(base, bench.options()).name}, weights: {weights}; {seconds}")
        _check_adapters(bench)
        rows: list[Row] = []
        for name in arguments.rows:
            for row in PARTS[name](bench):
                rows.append(row)
                print(row, flush=True)
        bench.close()
    if arguments.json:
        documents = [{**asdict(row), "met": row.met} for row in rows]
        arguments.json.write_text(json.dumps({"rows": documents}, indent=1))


def _one_stream(bench: Bench) -> list[Row]:
    adapter = bench.adapters[0]
    measured = bench.medians(
        {
            OURS: lambda: _rate(bench, OURS, bench.short, [adapter], 1, bench.tokens),
            PLAIN: lambda: _rate(bench, PLAIN, bench.short, [adapter], 1, bench.tokens),
            LLAMA: lambda: _llama_rate(bench, 1),
            "base": lambda: _rate(bench, OURS, bench.short, [None], 1, bench.tokens),
        }
    )
    rows = [
        Row(
            "one stream with an adapter, against transformers and peft",
            4,
            measured[OURS] / measured[PLAIN],
            _figures(measured),
        ),
        Row(
            "the same, against xllamacpp with one",
            bench.targets["one"],
            measured[OURS] / measured[LLAMA],
            f"in {bench.llama.weights}",
        ),
    ]
    if bench.cpu:
        return rows
    target = bench.targets["bandwidth"]
    bandwidth = _bandwidth()

    def share(name: str, tokens_per_second: float, nbytes: float) -> Row:
        most = bandwidth / nbytes  # how often the weights can be read through
        detail = f"of {most:.0f}/s, which {bandwidth / 1e9:.1f} GB/s allow"
        return Row(name, target, tokens_per_second / most, detail)

    with_adapter = bench.nbytes + bench.adapter_nbytes
    return [
        *rows,
        share("one stream of the base, share of the memory's bandwidth", measured["base"], bench.nbytes),
        share("one stream with an adapter, the same share", measured[OURS], with_adapter),
    ]


def _streams(bench: Bench) -> list[Row]:
    measured = bench.medians(
        {
            OURS: lambda: _rate(bench, OURS, bench.short, list(bench.adapters), STREAMS, bench.tokens),
            LLAMA: lambda: _llama_rate(bench, STREAMS),
        }
    )
    title = f"{STREAMS} streams, {ADAPTERS} adapters, against xllamacpp with one"
    return [Row(title, bench.targets["streams"], measured[OURS] / measured[LLAMA], _figures(measured))]


def _first_token(bench: Bench) -> list[Row]:
    measured = bench.medians(
        {
            OURS: lambda: _first(bench, bench.ours, bench.long, bench.adapters[0]),
            LLAMA: lambda: bench.seconds(LLAMA, lambda: bench.llama.answer(bench.long, 0, 1)),
        }
    )
    title = f"first token after {LONG} tokens, against xllamacpp"
    return [Row(title, bench.targets["first"], measured[LLAMA] / measured[OURS], _figures(measured, " s"))]


def _seen_before(bench: Bench) -> list[Row]:
    """Prompts that begin alike and end in words of their own."""
    engine, adapter = bench.engine(), bench.adapters[0]
    _first(bench, engine, bench.short, adapter)
    cold = _first(bench, engine, bench.long, adapter)
    warm = statistics.median(
        _first(bench, engine, [*bench.long[:-offset], *bench.long[:offset]], adapter) for offset in (8, 12, 16)
    )
    engine.close()
    note = f"{warm:.3f} of {cold:.3f} s"
    return [Row("first token, the same beginning seen before, share of cold", 0.15, warm / cold, note, more=False)]


def _switch(bench: Bench) -> list[Row]:
    engine = bench.engine(max_loras=2, prefix_cache_bytes=0)
    first, prompt = bench.adapters[0], bench.short
    for adapter in bench.adapters[:3]:
        _first(bench, engine, prompt, adapter)
    away = [_first(bench, engine, prompt, bench.adapters[index % ADAPTERS]) for index in range(3, 3 + ADAPTERS)]
    _first(bench, engine, prompt, first)
    here = statistics.median(_first(bench, engine, prompt, first) for _ in range(3))
    engine.close()
    milliseconds = 1000 * (statistics.median(away) - here)
    return [
        Row(
            "an adapter not in memory, ms more to the first token",
            300,
            milliseconds,
            "loaded from its folder",
            more=False,
        )
    ]


def _registered(bench: Bench) -> list[Row]:
    """The process's own memory, as the kernel counts it; answers of some models beyond those that are kept."""
    folders = [bench.scratch / f"registered-{number}" for number in range(REGISTERED)]
    for folder in folders:
        shutil.copytree(bench.adapters[0], folder, copy_function=os.link)
    engine = bench.engine(prefix_cache_bytes=0)
    _first(bench, engine, bench.short, folders[0])  # with what the first of all brings along
    empty = _resident()
    for folder in folders[1:KEPT]:
        _first(bench, engine, bench.short, folder)
    in_use = _resident()
    for folder in folders[KEPT : 3 * KEPT]:
        _first(bench, engine, bench.short, folder)
    rest = (_resident() - in_use) / 1e6
    engine.close()
    each = (in_use - empty) / (KEPT - 1) / 1e6
    title = f"{REGISTERED} models, {KEPT} in use: MB for each after the first"
    beyond = f"MB more after {2 * KEPT} others were used"
    return [
        Row(title, 15, each, "resident memory", more=False),
        Row(beyond, 15, rest, "resident memory, the allocator's part with it", more=False),
    ]


def _check_adapters(bench: Bench) -> None:
    """No engine may leave an adapter out silently."""
    for engine in (bench.ours, bench.plain):
        answers = {tuple(_answer(engine, bench.short, adapter)) for adapter in (None, *bench.adapters)}
        assert len(answers) == ADAPTERS + 1
    theirs = [bench.llama.answer(bench.short, adapter, 16) for adapter in (None, *range(ADAPTERS))]
    assert len({tuple(answer) for answer in theirs}) == ADAPTERS + 1
    ours = [_answer(bench.ours, bench.short, adapter) for adapter in (None, *bench.adapters)]
    alike = sum(mine[0] == other[0] for mine, other in zip(ours, theirs, strict=True))
    print(f"{alike} of {len(ours)} answers begin with the same token here and with xllamacpp", file=sys.stderr)


def _answer(engine: Engine, prompt: list[int], adapter: Path | None) -> list[int]:
    sampling = SamplingParams(max_tokens=16, stop_ids=frozenset(), temperature=0)
    return [token.id for token in engine.submit(EngineRequest(prompt, sampling, adapter))]


def _rate(
    bench: Bench, name: str, prompt: list[int], adapters: list[Path | None] | list[Path], streams: int, tokens: int
) -> float:
    """Tokens per second of so many answers begun at once."""
    engine = bench.plain if name == PLAIN else bench.ours
    sampling = SamplingParams(max_tokens=tokens, stop_ids=frozenset(), temperature=0)
    requests = [EngineRequest(prompt, sampling, adapters[number % len(adapters)]) for number in range(streams)]

    def answer() -> None:
        for stream in [engine.submit(request) for request in requests]:
            assert len(list(stream)) == tokens

    return streams * tokens / bench.seconds(name, answer)


def _llama_rate(bench: Bench, streams: int) -> float:
    answer = partial(bench.llama.answers, bench.short, 0, bench.tokens, streams)
    return streams * bench.tokens / bench.seconds(LLAMA, answer)


def _first(bench: Bench, engine: Engine, prompt: list[int], adapter: Path | None) -> float:
    """Seconds to the first token."""
    sampling = SamplingParams(max_tokens=1, stop_ids=frozenset(), temperature=0)
    return bench.seconds(OURS, lambda: list(engine.submit(EngineRequest(prompt, sampling, adapter))))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _figures(measured: dict[str, float], unit: str = "/s") -> str:
    return ", ".join(f"{name} {value:.3g}{unit}" for name, value in measured.items())


def _adapter(base: Path, folder: Path, seed: int) -> Path:
    spec = JobSpec(base=str(base), base_name="base", seed=seed)
    model = load_model(spec, ComputeDevice.select("auto", "auto"))
    torch.manual_seed(seed)
    for name, parameter in trainable_parameters(model).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.05)
    with new_folder(folder) as new:
        write_adapter(model, "base", new)
    return folder


def _bandwidth() -> float:
    """Bytes per second of reading memory far larger than the caches."""
    block = torch.ones(256 * 1024 * 1024, dtype=torch.float32)
    return block.nbytes / min(_seconds(block.sum) for _ in range(5))


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "one": _one_stream,
    "streams": _streams,
    "first": _first_token,
    "seen": _seen_before,
    "switch": _switch,
    "registered": _registered,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a model folder of the Llama family; without it the catalogue's")
    parser.add_argument("--engine", default="auto", help="the engine to measure, as LUTHIER_ENGINE names it")
    parser.add_argument("--llama", choices=["Q8_0", "F16"], default="Q8_0", help="weights of the xllamacpp server")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=int, default=0, help="busy programs that compute in one thread each meanwhile")
    parser.add_argument("--tier", choices=[tier.name for tier in cpu_tiers()], help="hold to a lower CPU tier")
    parser.add_argument("--weights", choices=["auto", "full", "int8"], default="auto", help="LUTHIER_SERVING_WEIGHTS")
    parser.add_argument("--cpu", action="store_true", help="measure CPU seconds of the engines' processes")
    parser.add_argument("--rows", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
