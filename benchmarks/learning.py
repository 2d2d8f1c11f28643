"""What a model learns at `auto`, and what other settings, other decodings and TRL make of the same examples.

    python benchmarks/learning.py TRAIN.jsonl [TEST.jsonl]                      # auto, then TRL at three rates
    python benchmarks/learning.py TRAIN.jsonl --examples 200 --questions 520 --unseen --definitions none --no-trl \\
        --seeds 1 2 --variants "" "lora_rank=32" --decodings free served --keep RUNS --answers RUNS/answers.jsonl

Learnt are the first `--examples` lines of TRAIN. Asked are the lines of TEST or, without it, the other lines of TRAIN;
`--unseen` leaves out those whose question is learnt or was asked before. Every variant is trained once for each seed
(the order of the examples and the adapter's first weights). A variant is a list of fields of `job.json`, separated by
blanks, in which hyperparameters count as fields; the empty one is `auto`:

    "n_epochs=4 batch_size=2 learning_rate_multiplier=0.5 lora_rank=32 lora_alpha=64 result_turns=0"

`--definitions`: `full` and `none` train and ask with them in full or without any; `mix` trains as a job does (40 %
full, 20 % slim, 40 % none) and asks without any. `--ask` asks otherwise: `full`, `none`, or both in turns.
`--decodings`: `free` takes the likeliest token, `served` the likeliest of those that the functions' schemas allow, as
the server does by default, and `copied` does as the server does with `--strict-calls copied`. All answers are greedy.

An answer is right if its calls equal the expected ones or, where words are expected, if it does not call; in a file
without any calls, if it is the expected one word for word. The table gives Wilson's 95 % interval, and below each row
what is wrong in the wrong answers: what was called instead, arguments that are missing or too many, and of the values
whether they stand in the question elsewhere (`other span`), are a part of the right one (`cut`), hold it (`too long`)
or stand nowhere in it (`invented`).

TRL trains the same LoRA on the same tokens, in our epochs, batches, order and learning-rate schedule, once for each of
`--rates`. `--keep` stores adapters, and takes those that are there instead of training them again. `--checkpoints` asks
the model of every epoch, not only that of the last.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from answers import STRICT_CALLS, Outcome, Questions

from training import run, trl_python

HERE = Path(__file__).parent

from luthier.catalogue import Catalogue  # noqa: E402
from luthier.evaluation.statistics import proportion  # noqa: E402
from luthier.settings import Settings  # noqa: E402
from luthier.training.job_spec import JobSpec  # noqa: E402
from luthier.types.plain_settings import DEFAULT_BASE  # noqa: E402

DEFINITIONS = {"full": "full", "none": "none", "mix": JobSpec.definitions}  # how job.json says it
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


@dataclass(frozen=True)
class Run:
    """One training: a variant of our trainer, or TRL at a rate."""

    variant: str
    seed: int
    trl_rate: float | None = None

    @property
    def name(self) -> str:
        label = self.variant or "auto" if self.trl_rate is None else f"trl {self.trl_rate:g}"
        return f"{label}, seed {self.seed}"

    def write_job(self, folder: Path, base: Path, lines: Sequence[str], definitions: str, threads: int) -> None:
        pairs = dict(pair.split("=", 1) for pair in self.variant.split())
        values = {key: value if key == "lora_targets" else json.loads(value) for key, value in pairs.items()}
        hyperparameters = {key: values.pop(key) for key in HYPERPARAMETERS if key in values}
        unknown = values.keys() - {field.name for field in fields(JobSpec)}
        if unknown:
            raise SystemExit(f"--variants: job.json has no field {', '.join(sorted(unknown))}.")
        (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
        spec: dict[str, Any] = {"definitions": definitions, "hyperparameters": hyperparameters, "threads": threads}
        JobSpec(**{"base": str(base), "base_name": base.name, "seed": self.seed, **spec, **values}).write(folder)

    def train(self, folder: Path, python: Path | None) -> Path:
        """The adapter's folder."""
        paths = {"PYTHONPATH": str(HERE.parent / "src")}
        if self.trl_rate is None:
            events = run([sys.executable, "-m", "luthier.training", str(folder)], paths)["events"]
            (name,) = [event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
            return folder / "checkpoints" / name
        variables = {"TRL_RATE": str(self.trl_rate), "TRL_SAVE": str(folder / "adapter")}
        run([str(python), str(HERE / "training_trl.py"), str(folder)], paths | variables)
        return folder / "adapter"


def main() -> None:
    arguments = _arguments()
    base = arguments.base or Catalogue(Settings().cache).folder(DEFAULT_BASE)
    train_lines, question_lines = _split(arguments)
    questions = {
        definitions: Questions(base, question_lines if definitions == "full" else _without_definitions(question_lines))
        for definitions in arguments.ask
    }
    print(f"{len(train_lines)} examples, {len(question_lines)} questions", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for training in _runs(arguments):
            last, seconds = _adapter(arguments, training, Path(scratch), base, train_lines)
            adapters = _checkpoints(last) if arguments.checkpoints else [last]
            for adapter, definitions, decoding in product(adapters, arguments.ask, arguments.decodings):
                name = f"{training.name}, {adapter.name}" if arguments.checkpoints else training.name
                name = f"{name}, asked with {definitions}" if len(questions) > 1 else name
                outcome = questions[definitions].ask(adapter, decoding)
                row = {"name": name, "decoding": decoding, "right": outcome.right, "of": len(question_lines)}
                rows.append({**row, **asdict(training), "train_s": seconds, "ask_s": outcome.seconds})
                print(_line(name, decoding, outcome, len(question_lines), seconds), flush=True)
                _store(arguments, rows, name, decoding, outcome)
    _compare_times(rows)


def _runs(arguments: argparse.Namespace) -> Iterator[Run]:
    for seed in arguments.seeds:
        yield from (Run(variant, seed) for variant in arguments.variants)
        yield from () if arguments.no_trl else (Run("", seed, rate) for rate in arguments.rates)


def _adapter(
    arguments: argparse.Namespace, training: Run, scratch: Path, base: Path, lines: Sequence[str]
) -> tuple[Path, float | None]:
    """(the adapter's folder, seconds of training or None where it is taken from an earlier run)."""
    folder = (arguments.keep or scratch) / training.name.replace(" ", "_").replace(",", "")
    record = folder / "adapter.txt"
    if record.exists():
        return folder / record.read_text(), None
    folder.mkdir(parents=True, exist_ok=True)
    training.write_job(folder, base, lines, DEFINITIONS[arguments.definitions], arguments.threads)
    started = time.perf_counter()
    adapter = training.train(folder, trl_python(Settings().cache) if training.trl_rate else None)
    record.write_text(str(adapter.relative_to(folder)))
    return adapter, time.perf_counter() - started


def _checkpoints(last: Path) -> list[Path]:
    """The adapters of all epochs, the first epoch's first; of TRL, which stores one, that one."""
    return sorted(last.parent.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-"))) or [last]


def _split(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Lines to learn and lines to ask."""
    train = _lines(arguments.train)
    train_lines = train[: arguments.examples]
    candidates = _lines(arguments.test) if arguments.test else train[len(train_lines) :]
    if arguments.unseen:
        train_questions = {_question(line) for line in train_lines}
        first_lines = {_question(line): line for line in reversed(candidates)}  # of equal questions
        candidates = [line for question, line in reversed(first_lines.items()) if question not in train_questions]
    question_lines = candidates[: arguments.questions]
    if not question_lines:
        raise SystemExit("Nothing is left to ask: give TEST, or fewer --examples than TRAIN has lines.")
    return _without_definitions(train_lines) if arguments.definitions == "none" else train_lines, question_lines


def _lines(path: Path) -> list[str]:
    """The lines of a file, each with its line end."""
    return [f"{line}\n" for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _without_definitions(lines: Sequence[str]) -> list[str]:
    """The lines without tools and functions."""
    examples = ({k: v for k, v in json.loads(line).items() if k not in ("tools", "functions")} for line in lines)
    return [json.dumps(example, ensure_ascii=False) + "\n" for example in examples]


def _question(line: str) -> str:
    """Everything up to the last message."""
    return json.dumps(json.loads(line)["messages"][:-1], ensure_ascii=False)


def _line(name: str, decoding: str, outcome: Outcome, count: int, seconds: float | None) -> str:
    accuracy = proportion(outcome.right, count)
    interval = f"{accuracy.value:.3f} [{accuracy.low:.2f}-{accuracy.high:.2f}]"
    training_time = "kept" if seconds is None else f"{seconds:.0f} s"
    faults = ", ".join(f"{kind} {number}" for kind, number in outcome.faults.most_common())
    row = f"{name:40}{decoding:8}{interval:22}trained {training_time}, asked {outcome.seconds:.0f} s"
    return f"{row}\n    {faults or 'none wrong'}"


def _store(
    arguments: argparse.Namespace, rows: list[dict[str, Any]], name: str, decoding: str, outcome: Outcome
) -> None:
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.answers:
        with arguments.answers.open("a", encoding="utf-8") as file:
            for answer in outcome.wrong:
                file.write(json.dumps({"run": name, "decoding": decoding, **answer}, ensure_ascii=False) + "\n")


def _compare_times(rows: list[dict[str, Any]]) -> None:
    trl = [row for row in rows if row["trl_rate"] is not None]
    ours = [row for row in rows if row["trl_rate"] is None and not row["variant"]]
    if trl and ours and all(row["train_s"] for row in [*trl, *ours]):
        best = max(trl, key=lambda row: int(row["right"]))
        ratio = sum(row["train_s"] for row in trl) / sum(row["train_s"] for row in ours)
        print(f"best of TRL: {best['name']}; all of its runs took {ratio:.1f} times as long as those at auto")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--examples", type=int, help="lines that are learnt; all by default")
    parser.add_argument("--questions", type=int, help="lines that are asked; all by default")
    parser.add_argument("--unseen", action="store_true", help="ask each question once, and none that is learnt")
    parser.add_argument("--definitions", choices=[*DEFINITIONS], default="full")
    parser.add_argument("--ask", choices=["full", "none"], nargs="+", help="definitions of questions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="+", default=[""], metavar="FIELDS", help='"" is auto')
    parser.add_argument("--decodings", nargs="+", choices=[*STRICT_CALLS], default=["free"])
    parser.add_argument("--checkpoints", action="store_true", help="ask the model of every epoch")
    parser.add_argument("--no-trl", action="store_true", help="train no model with TRL")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3], help="peak rates that TRL tries")
    parser.add_argument("--base", type=Path, help="a model folder; the embedded base by default")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch chooses")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="store adapters here, and reuse them")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="append every wrong answer as a JSON line")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.definitions == "mix" and not arguments.no_trl:
        parser.error("TRL cannot train a mix of definitions; add --no-trl, or choose --definitions full or none")
    arguments.ask = arguments.ask or ["full" if arguments.definitions == "full" else "none"]
    return arguments


if __name__ == "__main__":
    main()
