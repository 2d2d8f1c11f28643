"""Preference tuning (DPO) on the real base: do jobs succeed, and do held-out pairs come out right?

    python benchmarks/preferences.py [FILE ...] [--seeds 3] [--batch-size 8 auto] [--engine auto batched transformers]

Without files: `examples/preferences.jsonl`. For each file, batch size and seed a quarter of the pairs, drawn by the
seed, is held out; a job of two epochs is trained on the others as the server trains it, and its last checkpoint goes
through the parity gate of each engine. Preference accuracy is the share of held-out pairs whose preferred answer is
likelier than the other, by mean log-probability per token, before and after; the margin is the difference of both in
nats. All of it is measured on the trainer's own path. Prints a row per job, then the sums. Several seeds hold the same
pair out, so Wilson's 95 % interval counts each pair once.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src")]

from luthier.catalogue import Catalogue  # noqa: E402
from luthier.devices import select_device  # noqa: E402
from luthier.evaluation.statistics import proportion  # noqa: E402
from luthier.inference.options import EngineOptions  # noqa: E402
from luthier.inference.registry import build_engine  # noqa: E402
from luthier.settings import Settings  # noqa: E402
from luthier.training.job_spec import JobSpec  # noqa: E402
from luthier.types.errors import JobError, LuthierError  # noqa: E402
from luthier.types.plain_settings import DEFAULT_BASE  # noqa: E402
from luthier.worker import parity  # noqa: E402

HELD_OUT = 0.25


@dataclass(frozen=True)
class Outcome:
    """Of one job. `held_out`: numbers of lines. `margins`: of these pairs before and after, in nats per token."""

    held_out: list[int]
    margins: tuple[np.ndarray, np.ndarray]
    verdicts: dict[str, str]  # the gate's, by engine
    seconds: float


def run_job(
    folder: Path, base: Path, file: Path, batch_size: int | str, seed: int, options: argparse.Namespace
) -> Outcome:
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
    held_out = random.Random(seed).sample(range(len(lines)), round(HELD_OUT * len(lines)))
    train = [line for number, line in enumerate(lines) if number not in held_out]
    folder.mkdir()
    (folder / "train.jsonl").write_text("\n".join(train), encoding="utf-8")
    (folder / "valid.jsonl").write_text("\n".join(lines[number] for number in held_out), encoding="utf-8")
    numbers = {"n_epochs": 2, "batch_size": batch_size, "beta": 0.1}
    precision = select_device("cpu", options.precision)[1]
    spec = JobSpec(str(base), base.name, seed, "dpo", hyperparameters=numbers, device="cpu", precision=precision)
    spec.write(folder)
    start = time.perf_counter()
    command = [sys.executable, "-m", "luthier.training", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    seconds = time.perf_counter() - start
    events = [json.loads(line) for line in output.splitlines()]
    (adapter,) = [folder / "checkpoints" / event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
    verdicts = {name: verdict(name, base, adapter, precision) for name in options.engine}
    return Outcome(held_out, margins(folder, spec, adapter), verdicts, seconds)


def verdict(engine: str, base: Path, adapter: Path, precision: str) -> str:
    try:
        runner = build_engine(base, EngineOptions(engine=engine, device="cpu", precision=precision))
    except LuthierError as error:
        return f"cannot start: {error}"
    try:
        report = parity.check(lambda: runner, adapter, precision)
    except JobError as error:
        return f"refused: {error.message}"
    finally:
        runner.close()
    return f"passed: {report.summary()}"


def margins(folder: Path, spec: JobSpec, adapter: Path) -> tuple[np.ndarray, np.ndarray]:
    """Before and after, of each held-out pair: how much likelier a token of the preferred answer is, in nats."""
    import torch
    from transformers import AutoConfig

    from luthier.data.rendering.renderer import Renderer
    from luthier.training.dataset import Options
    from luthier.training.forward_pass import ForwardPass
    from luthier.training.model import TrainedModel
    from luthier.training.training_data import TrainingData

    context = AutoConfig.from_pretrained(spec.base).max_position_embeddings
    data = TrainingData(folder, Options(Renderer(Path(spec.base)), context, spec.method))
    model = TrainedModel(JobSpec(**{**vars(spec), "parent": str(adapter)}))
    forward = ForwardPass(model, 3072)

    @torch.no_grad()
    def measure() -> np.ndarray:
        pairs = []
        for micro in forward.micro_batches(data.examples("valid", range(data.validation_count))):
            counts = torch.bincount(micro.packed.owners)
            means = torch.zeros(len(counts)).index_add(0, micro.packed.owners, micro.logprobs) / counts
            pairs.append((means[0::2] - means[1::2]).numpy())
        return np.concatenate(pairs)

    after = measure()
    with model.without_adapter():
        return measure(), after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=[HERE.parent / "examples" / "preferences.jsonl"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch-size", nargs="+", default=["8", "auto"])
    parser.add_argument("--engine", nargs="+", default=["auto"])
    parser.add_argument("--precision", default="auto", choices=["auto", "bfloat16", "float32"])
    options = parser.parse_args()
    base = Catalogue(Settings().cache).folder(DEFAULT_BASE)
    for file in options.files:
        for batch_size in options.batch_size:
            outcomes = []
            for seed in range(1, options.seeds + 1):
                with tempfile.TemporaryDirectory() as scratch:
                    number = batch_size if batch_size == "auto" else int(batch_size)
                    outcome = run_job(Path(scratch) / "job", base, file, number, seed, options)
                outcomes.append(outcome)
                print(f"{file.stem}, batch_size {batch_size}, seed {seed}, {outcome.seconds:.0f} s", flush=True)
                for engine, text in outcome.verdicts.items():
                    print(f"  {engine:12} {text}", flush=True)
            report(file, batch_size, outcomes)


def report(file: Path, batch_size: str, outcomes: list[Outcome]) -> None:
    for engine in outcomes[0].verdicts:
        passed = sum(outcome.verdicts[engine].startswith("passed") for outcome in outcomes)
        print(f"{file.stem}, batch_size {batch_size}: {passed} of {len(outcomes)} jobs succeed on {engine}")
    pairs = len({number for outcome in outcomes for number in outcome.held_out})
    print(
        f"  {pairs} pairs held out by {len(outcomes)} jobs, {sum(len(outcome.held_out) for outcome in outcomes)} times"
    )
    for when, name in enumerate(("before", "after")):
        values = np.concatenate([outcome.margins[when] for outcome in outcomes])
        accuracy = float((values > 0).mean())
        interval = proportion(accuracy * pairs, pairs)
        print(
            f"  {name:6} preference accuracy {accuracy:.0%} [{interval.low * 100:.0f}-{interval.high * 100:.0f}],"
            f" margin {values.mean():+.2f} nats",
            flush=True,
        )


if __name__ == "__main__":
    main()
