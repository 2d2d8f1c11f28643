"""Accuracy after training with the default settings, against TRL's SFTTrainer at several learning rates.

    python benchmarks/learning.py TRAIN.jsonl TEST.jsonl [--examples 400] [--rates 1e-4 3e-4 1e-3] [--json FILE]

Luthier resolves every hyperparameter from `auto`. TRL trains the same LoRA on the same tokens, with our epochs,
batches, order and learning-rate schedule, once for each rate; its best run is compared. Each adapter then answers the
test questions greedily through the same engine; an answer counts if it equals the expected one word for word.
Function definitions are shown to both as the files have them; `--definitions none` removes them from both files.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from training import run, trl_python

HERE = Path(__file__).parent

from luthier.catalogue import Catalogue  # noqa: E402
from luthier.data.rendering.renderer import Renderer  # noqa: E402
from luthier.evaluation.statistics import proportion  # noqa: E402
from luthier.inference import EngineRequest, SamplingParams  # noqa: E402
from luthier.inference.options import EngineOptions  # noqa: E402
from luthier.inference.registry import build_engine  # noqa: E402
from luthier.settings import Settings  # noqa: E402
from luthier.training import dataset  # noqa: E402
from luthier.training.job_spec import JobSpec  # noqa: E402
from luthier.types.plain_settings import DEFAULT_BASE  # noqa: E402


def train(folder: Path, rate: float | None, python: Path) -> tuple[Path, float]:
    """(the adapter's folder, seconds): ours without a `rate`, else TRL's."""
    started = time.perf_counter()
    paths = {"PYTHONPATH": str(HERE.parent / "src")}
    if rate is None:
        events = run([sys.executable, "-m", "luthier.training", str(folder)], paths)["events"]
        (name,) = [event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
        return folder / "checkpoints" / name, time.perf_counter() - started
    variables = {"TRL_RATE": str(rate), "TRL_SAVE": str(folder / "adapter")}
    run([str(python), str(HERE / "training_trl.py"), str(folder)], paths | variables)
    return folder / "adapter", time.perf_counter() - started


def count_correct(base: Path, adapter: Path | None, test: dataset.Dataset) -> int:
    """Answers that equal the expected ones word for word."""
    engine = build_engine(base, EngineOptions(max_requests_per_key=len(test)))
    pending = []
    for index in range(len(test)):
        (tokens, *_) = test.example(index)
        ids = tokens.ids.tolist()
        start, end = first_answer(tokens.weights.tolist())
        sampling = SamplingParams(max_tokens=end - start + 16, stop_ids=frozenset({ids[end - 1]}), temperature=0)
        pending.append((ids[start : end - 1], engine.submit(EngineRequest(ids[:start], sampling, adapter))))
    correct = sum([token.id for token in answer] == expected for expected, answer in pending)
    engine.close()
    return correct


def first_answer(weights: list[float]) -> tuple[int, int]:
    """(start, stop) of the first trained tokens; the last of them ends the answer."""
    start = next(index for index, weight in enumerate(weights) if weight)
    return start, next((index for index in range(start, len(weights)) if not weights[index]), len(weights))


def main() -> None:
    arguments = _arguments()
    base = Catalogue(Settings().cache).folder(DEFAULT_BASE)
    python = trl_python(Settings().cache)
    lines = _lines(arguments.train, arguments.examples, arguments.definitions)
    outcomes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        questions = Path(scratch) / "test.jsonl"
        questions.write_text(
            "".join(_lines(arguments.test, arguments.questions, arguments.definitions)), encoding="utf-8"
        )
        test = dataset.load(questions, dataset.Options(Renderer(base), 65_536), "test")
        print(f"{len(lines)} examples, {len(test)} questions", flush=True)
        for rate in (None, *arguments.rates):
            folder = Path(scratch) / f"{rate or 'auto'}"
            folder.mkdir()
            (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
            JobSpec(str(base), base.name, seed=1, threads=arguments.threads, definitions="full").write(folder)
            adapter, seconds = train(folder, rate, python)
            correct = count_correct(base, adapter, test)
            name = "luthier, auto" if rate is None else f"trl, {rate:g}"
            outcomes.append({"name": name, "right": correct, "of": len(test), "seconds": seconds})
            accuracy = proportion(correct, len(test))
            print(f"{name:16}{accuracy.value:.3f} [{accuracy.low:.2f}-{accuracy.high:.2f}]{seconds:8.0f} s", flush=True)
    best = max(outcomes[1:], key=lambda outcome: outcome["right"])
    ratio = sum(outcome["seconds"] for outcome in outcomes[1:]) / outcomes[0]["seconds"]
    print(f"best of TRL: {best['name']}; all of its runs took {ratio:.1f} times as long")
    if arguments.json:
        arguments.json.write_text(json.dumps(outcomes, indent=1) + "\n")


def _lines(path: Path, count: int | None, definitions: str) -> list[str]:
    """The first `count` lines of a file; `definitions` "none" removes tools and functions from them."""
    examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]
    if definitions == "none":
        examples = [{k: v for k, v in example.items() if k not in ("tools", "functions")} for example in examples]
    return [json.dumps(example, ensure_ascii=False) + "\n" for example in examples]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--examples", type=int, help="lines of the training file; all by default")
    parser.add_argument("--questions", type=int, help="lines of the test file; all by default")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3], help="peak rates that TRL tries")
    parser.add_argument("--definitions", choices=["full", "none"], default="full")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch chooses")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
