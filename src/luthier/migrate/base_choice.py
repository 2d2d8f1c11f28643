"""Proposes the base model on this machine to train a successor on.

It is the largest one whose tokenizer covers the script of the data, whose context holds the longest example, which fits
into memory, and which trains within a night.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.base_config import context_tokens
from luthier.catalogue.training_speed import Speed, nearest_scaled, weight_bytes
from luthier.data.check.file_check import checked_examples
from luthier.data.cost_estimate import auto_epochs
from luthier.data.file_renderer import renderer_of_files
from luthier.data.findings import FindingError
from luthier.data.jsonl.reader import read_lines
from luthier.data.rendering.renderer import Renderer
from luthier.data.token_stats import measure
from luthier.language import Language, say
from luthier.migrate.retraining import RetrainPlan
from luthier.types.json_lines import json_line

MAX_SPLIT_SHARE = 0.2  # the largest share of tokens that are parts of characters; a base that knows a script has few
MAX_TRAINING_S = 8 * 3600.0
_MEMORY_SHARE = 0.8  # the share of free memory that training may take; other programs need the rest
_SAMPLE = 100  # examples from which the share of split characters is measured


@dataclass(frozen=True, slots=True)
class BaseFit:
    """How well a base fits the training file of a plan.

    Attributes:
        weight_bytes: The size of the base's weights.
        trained_tokens: Tokens of the file times epochs: those of the plan, or those that `auto` takes.
        left_out: How many examples are longer than the context, or cannot be trained on the base.
        split_share: The share of tokens in the file's texts that are a part of a character.
        speed: Speed and memory of training; None if no base of this machine was measured.
        measured: Whether `speed` was measured for this base, rather than scaled from another.
    """

    name: str
    weight_bytes: int
    trained_tokens: int
    left_out: int
    split_share: float
    speed: Speed | None
    measured: bool

    @property
    def seconds(self) -> float | None:
        return self.trained_tokens / self.speed.tokens_per_s if self.speed else None

    def objections(self, free_bytes: int, language: Language | None = None) -> list[str]:
        """The reasons why the base does not fit, given so much free memory; empty if it fits."""
        share, seconds = f"{100 * self.split_share:.0f} %", self.seconds or 0
        reasons = (
            (
                self.split_share > MAX_SPLIT_SHARE,
                f"its tokenizer hardly covers the script: {share} of the tokens are parts of characters",
                f"它的分词器基本不支持这种文字：{share} 的 token 只是字的一部分",
            ),
            (
                self.left_out > 0,
                f"examples that do not fit completely: {self.left_out}",
                f"它无法完整接受的样本：{self.left_out}",
            ),
            (
                self.speed is not None and self.speed.memory_bytes > _MEMORY_SHARE * free_bytes,
                "too little free memory",
                "空闲内存不够",
            ),
            (seconds > MAX_TRAINING_S, "training takes longer than a night", "训练一夜也完成不了"),
        )
        return [say(en, zh, language) for applies, en, zh in reasons if applies]

    def to_dict(self, free_bytes: int) -> dict[str, Any]:
        """The base as `--json` prints it."""
        return {
            "base": self.name,
            "trained_tokens": self.trained_tokens,
            "seconds": self.seconds,
            "memory_bytes": self.speed.memory_bytes if self.speed else None,
            "measured": self.measured,
            "split_share": self.split_share,
            "left_out": self.left_out,
            "objections": self.objections(free_bytes),
        }


def assess(name: str, folder: Path, plan: RetrainPlan, speeds: dict[str, Speed]) -> BaseFit:
    """How well a base fits a plan, which must not be a skipped one; `speeds` are the known speeds by base."""
    size = weight_bytes(folder)
    base_speed = speeds.get(name)
    with _training_file(plan) as path:
        renderer = renderer_of_files(folder, [path], plan.method)
        numbers = measure(path, renderer, context_tokens(folder), method=plan.method)
        split_share = _split_share(path, plan.method, renderer)
    epochs = plan.hyperparameters.get("n_epochs") or auto_epochs(numbers.examples, numbers.call_share)
    return BaseFit(
        name,
        size,
        int(numbers.total_tokens * epochs),
        left_out=numbers.truncated + sum(finding.code == "base_refuses_example" for finding in numbers.findings),
        split_share=split_share,
        speed=base_speed or nearest_scaled(speeds.values(), size),
        measured=base_speed is not None,
    )


def proposed(fits: Sequence[BaseFit], free_bytes: int) -> BaseFit | None:
    """The largest base that fits; None if none does."""
    fitting = [fit for fit in fits if not fit.objections(free_bytes)]
    return max(fitting, key=lambda fit: fit.weight_bytes, default=None)


@contextmanager
def _training_file(plan: RetrainPlan) -> Iterator[Path]:
    if plan.training is not None:
        yield plan.training
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "distilled.jsonl"
        lines = (json_line(example) + "\n" for example in plan.distilled)
        path.write_text("".join(lines), encoding="utf-8")
        yield path


def _split_share(path: Path, method: str, renderer: Renderer) -> float:
    """The share of tokens, in the messages of the first examples, that are a part of a character."""
    tokens = parts = 0
    for line in islice(read_lines(path), _SAMPLE):
        try:
            messages = [message for example in checked_examples(line, method) for message in example.messages]
        except FindingError:
            continue
        texts = [message["content"] for message in messages if isinstance(message.get("content"), str)]
        ids = [token for text in texts for token in renderer.text(text)]
        tokens += len(ids)
        parts += sum(_is_part(renderer.token_bytes(token)) for token in ids)
    return parts / tokens if tokens else 0.0


def _is_part(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False
