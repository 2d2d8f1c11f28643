"""GGUF files of a fine-tuned model against the model, on held-out examples. Needs xllamacpp.

    python benchmarks/export.py [FILE ...] [--held-out 60] [--types f16 q8_0 q5_1 q5_0 q4_0] [--seed 1] [--json OUTPUT]

Without files: quickstart's English and Chinese examples. From each file some examples are held out; a job on the others
is trained by a server, and `luthier export` writes the merged model and a GGUF file of each type. Every answer that was
held out is scored, without definitions in the prompt, by transformers in float32 on the merged model and by llama.cpp
on each file that the gate of `luthier export` lets through. An answer is exact if each of its tokens is the likeliest,
so that greedy decoding gives it word for word. Prints, per file and type: size, exact answers, those on which it parts
from transformers, and the mean absolute difference of log-probabilities in nats per token.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from local_server import fine_tune, serve

from luthier.catalogue import Catalogue
from luthier.data.rendering.parity_samples import ParitySample
from luthier.data.rendering.renderer import Renderer
from luthier.data.split.splitter import Output, split_file
from luthier.export.runtimes import llama_cpp, plain_transformers
from luthier.export.runtimes.scores import Scores
from luthier.settings import Settings
from luthier.training import dataset
from luthier.types.plain_settings import DEFAULT_BASE

EPOCHS = {"smart_home.jsonl": 2, "smart_home.zh.jsonl": 3}  # as quickstart sets them; `auto` for other files


def main() -> None:
    options = _arguments()
    rows = []
    for file in options.files or _bundled():
        with tempfile.TemporaryDirectory() as folder:
            rows += _measure(Path(folder), file, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _measure(folder: Path, file: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    train, valid, data = folder / "train.jsonl", folder / "valid.jsonl", folder / "data"
    examples = file.read_text(encoding="utf-8").count("\n")
    split = [Output("validation", valid, options.held_out / examples)]
    split_file(file, train, split, seed=options.seed, overwrite=True)
    with serve(data) as client:
        model = fine_tune(client, train, options.seed, EPOCHS.get(file.name, "auto"))
    _export(model, "merged", folder / "merged", data)
    samples = _samples(valid)
    reference = plain_transformers.score(folder / "merged", samples, "cpu", torch.float32)
    print(f"{file.name}: {len(samples)} examples held out, {_exact(reference).sum()} exact in transformers", flush=True)
    rows = []
    for quantization in options.types:
        if not _export(model, f"gguf:{quantization}", folder / quantization, data):
            print(f"  {quantization:6} refused by the gate", flush=True)
            continue
        (path,) = (folder / quantization).glob("*.gguf")
        scores = llama_cpp.ask(path, samples).scores
        row = {
            "file": file.name,
            "type": quantization,
            "mib": path.stat().st_size / 2**20,
            "examples": len(samples),
            "exact": int(_exact(scores).sum()),
            "parted": int((_exact(scores) != _exact(reference)).sum()),
            "difference": float(np.abs(_logprobs(scores) - _logprobs(reference)).mean()),
        }
        rows.append(row)
        print(
            f"  {quantization:6}{row['mib']:6.0f} MiB  exact {row['exact']}/{row['examples']}, "
            f"parts on {row['parted']}, {row['difference']:.4f} nats",
            flush=True,
        )
    return rows


def _export(model: str, target: str, folder: Path, data: Path) -> bool:
    """False for a file that the gate refuses."""
    command = ["export", model, "--to", target, "--out", str(folder), "--data", str(data)]
    process = subprocess.run([sys.executable, "-m", "luthier", *command], stdout=subprocess.DEVNULL)
    return process.returncode == 0


def _samples(path: Path) -> list[ParitySample]:
    """The answers of a file, as a model is served that knows its functions: no definitions in the prompt."""
    renderer = Renderer(Catalogue(Settings().cache).folder(DEFAULT_BASE))
    examples = dataset.load(path, dataset.Options(renderer, 65_536), "test")
    samples = []
    for index in range(len(examples)):
        (tokens, *_) = examples.example(index)
        positions = np.flatnonzero(tokens.weights).tolist()
        samples.append(ParitySample(tokens.ids.tolist(), positions, [], []))
    return samples


def _exact(scores: list[Scores]) -> np.ndarray:
    """Of each sample: whether all its tokens are the likeliest."""
    return np.array([score.is_top.all() for score in scores])


def _logprobs(scores: list[Scores]) -> np.ndarray:
    return np.concatenate([score.logprobs for score in scores])


def _bundled() -> list[Path]:
    folder = Path(str(resources.files("luthier") / "examples"))
    return [folder / "smart_home.jsonl", folder / "smart_home.zh.jsonl"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--held-out", type=int, default=60, help="examples of each file")
    parser.add_argument("--types", nargs="+", default=["f16", "q8_0", "q5_1", "q5_0", "q4_0"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="OUTPUT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
