"""Stage 5, token statistics: a file in; lengths, trained tokens and truncated examples out.

Tokens are counted with the base model's tokenizer, through the renderer that training uses. A large file is sampled
with a fixed seed, but every example that may be longer than the context is counted, because a single one without an
answer inside the context fails a job. Lines with a structural error are left out: they cannot be rendered.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luthier.data.check.file_check import checked_examples
from luthier.data.examples.example import Example
from luthier.data.findings import Finding, FindingError, make_finding
from luthier.data.jsonl.reader import read_lines
from luthier.data.openai_tokens import CountTokens, openai_texts
from luthier.data.rendering.renderer import Rendered, Renderer

SAMPLE_BYTES = 2_000_000  # the size of the sample from a larger file, which takes a second or two
_BATCH_SIZE = 64
_BARS = 10
_SEED = 42


@dataclass(frozen=True)
class Distribution:
    """The distribution of one number per example: sum, extremes, mean, and 5th and 95th percentile.

    `bars`: the counts of a histogram with ten equal bins from `min` to `max`.
    """

    total: int
    min: int
    p5: float
    mean: float
    p95: float
    max: int
    bars: list[int]

    @classmethod
    def of(cls, values: list[int]) -> "Distribution":
        ordered = np.sort(values)
        low, high = np.interp(np.multiply((0.05, 0.95), len(ordered) - 1), np.arange(len(ordered)), ordered)
        bars = np.histogram(values, bins=_BARS, range=(min(values), max(max(values), min(values) + 1)))[0]
        mean = sum(values) / len(values)
        return cls(sum(values), min(values), float(low), mean, float(high), max(values), bars.tolist())


@dataclass
class TokenStats:
    """The token statistics of a file of `examples` examples, for a context of `context_tokens`.

    `sampled` of the examples were drawn, of which `counted` were counted; the others have errors or cannot be rendered.
    `messages`, `tokens` (as training sees them), `trained` and `openai` have one number per counted example; for a
    preference pair, it is the sum over both answers, each with its conversation. `truncated` counts the examples that
    are longer than the context, sampled or not. `with_calls` counts the counted examples that call a
    function, preference pairs apart.
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
    with_calls: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def total_tokens(self) -> int:
        """The tokens of the whole file, extrapolated from the sample."""
        return self._extrapolate(self.tokens)

    @property
    def total_openai_tokens(self) -> int | None:
        """OpenAI's tokens of the whole file, extrapolated from the sample; None if they were not counted."""
        return self._extrapolate(self.openai) if self.openai else None

    @property
    def call_share(self) -> float:
        """The share of the examples that call a function."""
        return self.with_calls / max(self.counted, 1)

    def _extrapolate(self, counts: list[int]) -> int:
        return round(sum(counts) * self.examples / self.sampled) if self.sampled else 0

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        columns = {name: getattr(self, name) for name in ("messages", "tokens", "trained", "openai")}
        return {
            "examples": self.examples,
            "sampled": self.sampled,
            "counted": self.counted,
            "context_tokens": self.context_tokens,
            "truncated": self.truncated,
            "with_calls": self.with_calls,
            "total_tokens": self.total_tokens,
            **{name: vars(Distribution.of(values)) if values else None for name, values in columns.items()},
        }


class _Candidate(NamedTuple):
    """An example to render: its conversation, or the two of a preference pair; its number in the file, from 1; and
    whether it belongs to the sample.
    """

    conversations: list[Example]
    number: int
    is_sampled: bool


def measure(
    path: Path,
    renderer: Renderer,
    context: int,
    *,
    method: str = "supervised",
    sample_bytes: int = SAMPLE_BYTES,
    count_openai: CountTokens | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> TokenStats:
    """The token statistics of a JSONL file. Lines with errors and examples that cannot be rendered are left out.

    `context`: the base model's context in tokens. `on_progress` is called with the byte offset after each line.
    Raises as `read_blocks`.
    """
    stats = TokenStats(0, context)
    candidates: list[_Candidate] = []
    share = min(1.0, sample_bytes / max(path.stat().st_size, 1))
    generator = random.Random(_SEED)  # noqa: S311 - a reproducible sample
    for line in read_lines(path):
        stats.examples += 1
        is_sampled = generator.random() < share or stats.examples == 1  # a sample is never empty
        stats.sampled += is_sampled
        # A text has at most as many tokens as bytes, and a line more bytes than its text.
        if is_sampled or len(line.raw) >= context:
            with suppress(FindingError):
                candidates.append(_Candidate(checked_examples(line, method), stats.examples, is_sampled))
        if len(candidates) == _BATCH_SIZE:
            _count(stats, candidates, renderer, count_openai)
            candidates = []
        if on_progress:
            on_progress(line.end_bytes)
    _count(stats, candidates, renderer, count_openai)
    return stats


def _count(
    stats: TokenStats, candidates: list[_Candidate], renderer: Renderer, count_openai: CountTokens | None
) -> None:
    results = iter(renderer.batch([example for candidate in candidates for example in candidate.conversations]))
    counted: list[list[Example]] = []
    for candidate in candidates:
        conversations = candidate.conversations
        line = conversations[0].line
        rendered = [next(results) for _ in conversations]
        pieces = [piece for piece in rendered if isinstance(piece, Rendered)]
        if len(pieces) < len(rendered):
            refusal = next(str(piece) for piece in rendered if not isinstance(piece, Rendered))
            stats.findings.append(make_finding("base_refuses_example", detail=refusal).at(line, candidate.number))
            continue
        stats.findings += (finding.at(line, candidate.number) for finding in _check_length(pieces, stats))
        if candidate.is_sampled:
            stats.counted += 1
            stats.with_calls += len(conversations) == 1 and conversations[0].has_calls
            stats.messages.append(sum(len(example.messages) for example in conversations))
            stats.tokens.append(sum(min(len(piece.ids), stats.context_tokens) for piece in pieces))
            stats.trained.append(sum(sum(map(bool, piece.weights[1 : stats.context_tokens])) for piece in pieces))
            counted.append(conversations)
    if count_openai:
        stats.openai += _count_openai(counted, count_openai)


def _count_openai(counted: list[list[Example]], count: CountTokens) -> list[int]:
    """The approximate number of tokens that OpenAI bills for each example. All texts are counted in one call."""
    billed = [[openai_texts(example) for example in conversations] for conversations in counted]
    tokens = iter(count([text for conversations in billed for texts, _ in conversations for text in texts]))
    return [
        sum(others + sum(islice(tokens, len(texts))) for texts, others in conversations) for conversations in billed
    ]


def _check_length(pieces: list[Rendered], stats: TokenStats) -> Iterator[Finding]:
    """Yields a finding if the context truncates the example, and counts it in `stats.truncated`."""
    context = stats.context_tokens
    longest = max(len(piece.ids) for piece in pieces)
    if longest <= context:
        return
    stats.truncated += 1
    loses_all = any(any(piece.weights[1:]) and not any(piece.weights[1:context]) for piece in pieces)
    code = "nothing_trainable_in_context" if loses_all else "truncated"
    yield make_finding(code, value=longest, detail=str(context))
