"""Serving, side by side in one run: the batched engine against transformers with PEFT, greedy, on the same prompts.

    python benchmarks/serving.py [--base FOLDER] [--tokens 64] [--rounds 3]

The base model is that of the catalogue, in the format that serving would choose; adapters are random LoRA adapters of
rank 16 on all linear layers, since speed does not depend on what they learnt. Engines take turns, so that whatever
else the machine does falls on both. Prints medians over the rounds, ratios, and the share of the memory bandwidth
that was measured in the same run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from luthier.catalogue import Catalogue
from luthier.data.render import Renderer
from luthier.inference import Engine, Generation, Sampling
from luthier.inference.pool import EngineOptions, start_engine
from luthier.settings import DEFAULT_BASE, Settings
from luthier.training.model import hardware, load, save_adapter, trainable
from luthier.training.spec import JobSpec

ADAPTERS, STREAMS, LONG = 4, 8, 1500


def main() -> None:
    arguments = _arguments()
    base = arguments.base or Catalogue(Settings().cache).folder(DEFAULT_BASE)
    read = Renderer(base)
    short = read.prompt([{"role": "user", "content": "Tell me a long story about a lighthouse."}])
    long = (short * (LONG // len(short) + 1))[:LONG]
    with tempfile.TemporaryDirectory() as folder:
        adapters = [_adapter(base, Path(folder) / f"adapter-{seed}", seed) for seed in range(ADAPTERS + 1)]
        uncached = EngineOptions(adapters_in_memory=ADAPTERS + 1, prefix_cache_bytes=0)
        engines = {
            name: start_engine(base, EngineOptions(**{**vars(uncached), "engine": name}))
            for name in ("batched", "transformers")
        }
        bandwidth = _bandwidth()
        _compare(engines, base, short, long, adapters, bandwidth, arguments)
        for engine in engines.values():
            engine.close()
        _alone(base, long, adapters)


def _compare(
    engines: dict[str, Engine],
    base: Path,
    short: list[int],
    long: list[int],
    adapters: list[Path],
    bandwidth: float,
    arguments: argparse.Namespace,
) -> None:
    weights = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    cases: dict[str, Callable[[Engine], float]] = {
        "one stream with an adapter, tokens/s": lambda e: _rate(e, short, adapters[:1], 1, arguments.tokens),
        "one stream of the base, tokens/s": lambda e: _rate(e, short, [None], 1, arguments.tokens),
        f"{STREAMS} streams, {ADAPTERS} adapters, tokens/s": lambda e: _rate(
            e, short, list(adapters[:ADAPTERS]), STREAMS, arguments.tokens
        ),
        f"first token after {LONG} tokens, s": lambda e: _first(e, long, adapters[0]),
    }
    for engine in engines.values():
        _rate(engine, short, list(adapters[:ADAPTERS]), ADAPTERS, 4)  # loads what is loaded once
    print(f"memory bandwidth {bandwidth / 1e9:.1f} GB/s, weights {weights / 1e6:.0f} MB\n")
    print(f"{'':46}{'batched':>10}{'transformers':>14}{'ratio':>8}")
    for title, case in cases.items():
        found: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(arguments.rounds):
            for name, engine in engines.items():
                found[name].append(case(engine))
        mine, other = (statistics.median(found[name]) for name in ("batched", "transformers"))
        ratio = mine / other if "tokens/s" in title else other / mine
        print(f"{title:46}{mine:10.2f}{other:14.2f}{ratio:8.1f}")
        if title.startswith("one stream"):
            print(
                f"{'  share of the bandwidth':46}{mine * weights / bandwidth:10.2f}{other * weights / bandwidth:14.2f}"
            )


def _alone(base: Path, long: list[int], adapters: list[Path]) -> None:
    """What only the batched engine has: prompts that were read before, and the cost of an adapter not in memory."""
    engine = start_engine(base, EngineOptions(engine="batched", adapters_in_memory=2))
    cold = _first(engine, long, adapters[0])
    warm = _first(engine, [*long[:-8], *long[:8]], adapters[0])
    print(f"\nfirst token with the same beginning seen before: {warm:.3f} s, {warm / cold:.3f} of cold ({cold:.2f} s)")
    _first(engine, long[:32], adapters[1])
    loaded = statistics.median(_first(engine, long[32 * i : 32 * i + 32], adapters[1]) for i in range(1, 4))
    new = _first(engine, long[:32], adapters[2])
    print(f"an adapter not in memory: {1000 * (new - loaded):.0f} ms more to the first token")
    engine.close()


def _rate(engine: Engine, prompt: list[int], adapters: list[Path | None], streams: int, tokens: int) -> float:
    """Tokens per second of so many answers begun at once."""
    sampling = Sampling(max_tokens=tokens, stop_ids=frozenset(), temperature=0)
    started = time.perf_counter()
    answers = [engine.submit(Generation(prompt, sampling, adapters[i % len(adapters)])) for i in range(streams)]
    made = sum(len(list(answer)) for answer in answers)
    return made / (time.perf_counter() - started)


def _first(engine: Engine, prompt: list[int], adapter: Path) -> float:
    """Seconds to the first token."""
    started = time.perf_counter()
    list(engine.submit(Generation(prompt, Sampling(max_tokens=1, stop_ids=frozenset(), temperature=0), adapter)))
    return time.perf_counter() - started


def _adapter(base: Path, folder: Path, seed: int) -> Path:
    model = load(JobSpec(base=str(base), base_name="base", seed=seed), hardware("auto", "auto"))
    torch.manual_seed(seed)
    for name, parameter in trainable(model).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02)
    save_adapter(model, "base", "", folder)
    return folder


def _bandwidth() -> float:
    """Bytes per second of reading memory far larger than the caches."""
    block = torch.ones(256 * 1024 * 1024, dtype=torch.float32)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - started)
    return block.nbytes / min(times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a model folder; without it the catalogue's")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
