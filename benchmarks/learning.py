"""What the default settings learn, against learning rates of TRL's SFTTrainer.

    python benchmarks/learning.py TRAIN.jsonl TEST.jsonl [--examples 400] [--rates 1e-4 3e-4 1e-3] [--json FILE]

Everything of Luthier's is left to `auto`. TRL trains the same LoRA on the same trained tokens, with our epochs,
batches, order and shape of the schedule, once for each rate; its best run is compared. Each adapter then answers
the test questions greedily through the same engine, and an answer is right if it is the expected one word for word.
Definitions of functions are shown to both as the files have them; `--definitions none` takes them out of both files.
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
from luthier.evaluation.statistics import proportion as share_of  # noqa: E402
from luthier.inference import EngineRequest, SamplingParams  # noqa: E402
from luthier.inference.options import EngineOptions  # noqa: E402
from luthier.inference.registry import build_engine  # noqa: E402
from luthier.settings import DEFAULT_BASE, Settings  # noqa: E402
from luthier.training import dataset  # noqa: E402
from luthier.training.job_spec import JobSpec  # noqa: E402


def train(folder: Path, rate: float | None, python: Path) -> tuple[Path, float]:
    """(the adapter's folder, seconds): ours without a `rate`, else TRL's."""
    since = time.perf_counter()
    paths = {"PYTHONPATH": str(HERE.parent / "src")}
    if rate is None:
        events = run([sys.executable, "-m", "luthier.training", str(folder)], paths)["events"]
        (name,) = [event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
        return folder / "checkpoints" / name, time.perf_counter() - since
    variables = {"TRL_RATE": str(rate), "TRL_SAVE": str(folder / "adapter")}
    run([str(python), str(HERE / "training_trl.py"), str(folder)], paths | variables)
    return folder / "adapter", time.perf_counter() - since


def right(base: Path, adapter: Path | None, test: dataset.Dataset) -> int:
    """Answers that are the expected ones word for word."""
    engine = build_engine(base, EngineOptions(max_requests_per_key=len(test)))
    asked = []
    for index in range(len(test)):
        (tokens, *_) = test.example(index)
        ids = tokens.ids.tolist()
        start, end = first_answer(tokens.weights.tolist())
        sampling = SamplingParams(max_tokens=end - start + 16, stop_ids=frozenset({ids[end - 1]}), temperature=0)
        asked.append((ids[start : end - 1], engine.submit(EngineRequest(ids[:start], sampling, adapter))))
    found = sum([token.id for token in answer] == wanted for wanted, answer in asked)
    engine.close()
    return found


def first_answer(weights: list[float]) -> tuple[int, int]:
    """Where the first trained tokens begin and end; the last of them ends the answer."""
    start = next(place for place, weight in enumerate(weights) if weight)
    return start, next((place for place in range(start, len(weights)) if not weights[place]), len(weights))


def main() -> None:
    given = _arguments()
    base = Catalogue(Settings().cache).folder(DEFAULT_BASE)
    python = trl_python(Settings().cache)
    lines = _lines(given.train, given.examples, given.definitions)
    told: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        questions = Path(scratch) / "test.jsonl"
        questions.write_text("".join(_lines(given.test, given.questions, given.definitions)), encoding="utf-8")
        test = dataset.load(questions, dataset.Options(Renderer(base), 65_536), "test")
        print(f"{len(lines)} examples, {len(test)} questions", flush=True)
        for rate in (None, *given.rates):
            folder = Path(scratch) / f"{rate or 'auto'}"
            folder.mkdir()
            (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
            JobSpec(str(base), base.name, seed=1, threads=given.threads, definitions="full").write(folder)
            adapter, seconds = train(folder, rate, python)
            hits = right(base, adapter, test)
            name = "luthier, auto" if rate is None else f"trl, {rate:g}"
            told.append({"name": name, "right": hits, "of": len(test), "seconds": seconds})
            share = share_of(hits, len(test))
            print(f"{name:16}{share.value:.3f} [{share.low:.2f}-{share.high:.2f}]{seconds:8.0f} s", flush=True)
    best = max(told[1:], key=lambda one: one["right"])
    ratio = sum(one["seconds"] for one in told[1:]) / told[0]["seconds"]
    print(f"best of TRL: {best['name']}; all of its runs took {ratio:.1f} times as long")
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def _lines(path: Path, count: int | None, definitions: str) -> list[str]:
    """The first lines of a file, without the definitions in them if there are to be `none`."""
    examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]
    if definitions == "none":
        examples = [{k: v for k, v in one.items() if k not in ("tools", "functions")} for one in examples]
    return [json.dumps(one, ensure_ascii=False) + "\n" for one in examples]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--examples", type=int, help="how many of the training file; all unless given")
    parser.add_argument("--questions", type=int, help="how many of the test file; all unless given")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3], help="peak rates that TRL tries")
    parser.add_argument("--definitions", choices=["full", "none"], default="full")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch chooses")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
