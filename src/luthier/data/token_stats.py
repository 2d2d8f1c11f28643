"""Token counts of a file: how long its examples are, how much of them is trained, and what a context cuts off.

Counted by the base model's own tokenizer, through the renderer that training uses. Large files are sampled by a seed;
examples that may be longer than the context are all counted, since one that loses its answer would spoil a job.
Lines with an error of form are left out: what their tokens would be, nobody can say. Knows no clock and does not
fetch a tokenizer.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.check.file_check import checked_example
from luthier.data.examples.example import Example
from luthier.data.findings import Finding, FindingError, problem
from luthier.data.jsonl.reader import read_lines
from luthier.data.rendering.renderer import Rendered, Renderer
from luthier.types.errors import RenderError

SAMPLE_BYTES = 2_000_000  # of a larger file a sample of about this size is counted: a second or two
LONGEST_CONTEXT = 65_536  # OpenAI's limit for an example, and the trainer's
_BATCH = 64
_BARS = 10
_SEED = 42


@dataclass(frozen=True)
class Spread:
    """Of one number per example. `bars`: how many examples fall into each of ten equal steps from `min` to `max`."""

    total: int
    min: int
    p5: float
    mean: float
    p95: float
    max: int
    bars: list[int]

    @classmethod
    def of(cls, values: list[int]) -> "Spread":
        low, high = np.percentile(values, [5, 95])
        bars = np.histogram(values, bins=_BARS, range=(min(values), max(max(values), min(values) + 1)))[0]
        mean = sum(values) / len(values)
        return cls(sum(values), min(values), float(low), mean, float(high), max(values), bars.tolist())


@dataclass
class Numbers:
    """Of `examples`, `sampled` were drawn and `counted` counted: the others have errors or cannot be rendered.

    `tokens` are those that training sees; `truncated` counts all examples.
    """

    examples: int
    context_tokens: int
    sampled: int = 0
    counted: int = 0
    messages: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    openai: list[int] = field(default_factory=list)
    truncated: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def total_tokens(self) -> int:
        """Of the whole file, in proportion where only a sample was counted."""
        return self._of_whole_file(self.tokens)

    @property
    def total_openai_tokens(self) -> int | None:
        """Likewise; None where they were not counted."""
        return self._of_whole_file(self.openai) if self.openai else None

    def _of_whole_file(self, counts: list[int]) -> int:
        return round(sum(counts) * self.examples / self.sampled) if self.sampled else 0

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        spreads = {name: getattr(self, name) for name in ("messages", "tokens", "trained", "openai")}
        return {
            "examples": self.examples,
            "sampled": self.sampled,
            "counted": self.counted,
            "context_tokens": self.context_tokens,
            "truncated": self.truncated,
            "total_tokens": self.total_tokens,
            **{name: vars(Spread.of(values)) if values else None for name, values in spreads.items()},
        }


def context_tokens(base: Path) -> int:
    """The most tokens of an example that training on this base model folder sees."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return min(config.get("max_position_embeddings") or LONGEST_CONTEXT, LONGEST_CONTEXT)


def measure(
    path: Path,
    renderer: Renderer,
    context: int,
    *,
    sample_bytes: int = SAMPLE_BYTES,
    count_openai: Callable[[str], int] | None = None,
    on_line: Callable[[int], None] | None = None,
) -> Numbers:
    """Count a file, whatever its lines are; those with an error, and those that cannot be rendered, are left out."""
    numbers = Numbers(0, context)
    waiting: list[tuple[Example, int, bool]] = []
    share = min(1.0, sample_bytes / max(path.stat().st_size, 1))
    dice = random.Random(_SEED)  # noqa: S311 - a sample that anybody can draw again
    for line in read_lines(path):
        numbers.examples += 1
        sampled = dice.random() < share or numbers.examples == 1  # a sample is never empty
        numbers.sampled += sampled
        # No tokenizer makes more tokens than bytes, and a line has more bytes than its text.
        if sampled or len(line.raw) >= context:
            with suppress(FindingError):
                waiting.append((checked_example(line), numbers.examples, sampled))
        if len(waiting) == _BATCH:
            _count(numbers, waiting, renderer, count_openai)
            waiting = []
        if on_line:
            on_line(line.end_bytes)
    _count(numbers, waiting, renderer, count_openai)
    return numbers


def _count(
    numbers: Numbers,
    waiting: list[tuple[Example, int, bool]],
    renderer: Renderer,
    count_openai: Callable[[str], int] | None,
) -> None:
    rendered = renderer.batch([example for example, _, _ in waiting])
    for (example, number, sampled), whole in zip(waiting, rendered, strict=True):
        if isinstance(whole, RenderError):
            continue
        numbers.findings += (one.at(example.line, number) for one in _fit(whole, numbers))
        if sampled:
            numbers.counted += 1
            numbers.messages.append(len(example.messages))
            numbers.tokens.append(min(len(whole.ids), numbers.context_tokens))
            numbers.trained.append(sum(map(bool, whole.weights[1 : numbers.context_tokens])))
            if count_openai:
                numbers.openai.append(openai_tokens(example, count_openai))


def _fit(whole: Rendered, numbers: Numbers) -> Iterator[Finding]:
    """What the context cuts off; counts it."""
    context = numbers.context_tokens
    if len(whole.ids) <= context:
        return
    numbers.truncated += 1
    left = any(whole.weights[1:context])
    if any(whole.weights[1:]) and not left:
        yield problem("nothing_trainable_in_context", seen=len(whole.ids), detail=str(context))
    else:
        yield problem("truncated", seen=len(whole.ids), detail=str(context))


def openai_tokens(example: Example, count: Callable[[str], int]) -> int:
    """About what OpenAI bills: 3 tokens a message and 3 an example beside the texts, as its cookbook counts.

    Definitions and calls are counted as JSON, which is near what OpenAI makes of them and not exact.
    """
    total = 3
    for message in example.messages:
        total += 3 + sum(count(_plain(value)) for key, value in message.items() if key != "weight" and value)
        total += bool(message.get("name"))
    definitions = example.tools or example.functions
    return total + (count(_plain(definitions)) if definitions else 0)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
