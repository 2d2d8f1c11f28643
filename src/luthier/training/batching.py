"""The order of examples in training, and the division of a batch into micro-batches. Pure functions of numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from luthier.data.rendering.tool_dropout import ToolDropout
from luthier.training.dataset import TokenSequence
from luthier.training.packing.prefix_tree import common_length, sort_key


@dataclass(frozen=True)
class TrainingExample:
    """One conversation, or for DPO two, with their log-probabilities under the reference model."""

    index: int
    sequences: tuple[TokenSequence, ...]
    reference_logprobs: tuple[float, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(sequence.ids) for sequence in self.sequences)


@lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """int [count]: a permutation. It depends on the arguments alone, so a resumed job has the same order."""
    return np.random.default_rng([seed, epoch]).permutation(count)


@lru_cache(maxsize=1)
def grouped_epoch_order(seed: int, epoch: int, count: int, batch_size: int, dropout: ToolDropout) -> np.ndarray:
    """Like `epoch_order`, with tool-definition dropout: the examples of a batch show their definitions in the same
    form.

    So only batches with full definitions pay for long ones, once per batch.
    """
    shuffled = epoch_order(seed, epoch, count)
    by_view = shuffled[np.argsort(dropout.levels(seed, epoch, count)[shuffled], kind="stable")]
    full = count // batch_size * batch_size
    generator = np.random.default_rng([seed, epoch, batch_size])
    return np.concatenate([generator.permutation(by_view[:full].reshape(-1, batch_size)).ravel(), by_view[full:]])


def shares(examples: Sequence[TrainingExample], count: int) -> list[list[TrainingExample]]:
    """`count` parts of about as many tokens, each of neighbours in the order of their tokens, which may share prefixes.

    A part may be empty.
    """
    ordered = _in_token_order(examples)
    parts: list[list[TrainingExample]] = [[] for _ in range(count)]
    for example, part in zip(ordered, split([example.tokens for example in ordered], count), strict=True):
        parts[part].append(example)
    return parts


def split(lengths: Sequence[int], count: int) -> list[int]:
    """The part of each length, of `count` parts: contiguous runs of about the same sum."""
    total, before, parts = sum(lengths), 0, []
    for length in lengths:
        parts.append((2 * before + length) * count // (2 * total))
        before += length
    return parts


def packed_tokens(examples: Sequence[TrainingExample]) -> int:
    """The tokens of examples in one row, where neighbours in the order of their tokens share their prefix."""
    ordered = _in_token_order(examples)
    return sum(map(_packed_length, ordered)) - sum(_shared_lengths(ordered))


def micro_batches(
    examples: list[TrainingExample], max_tokens: int, short_tokens: int | None = None
) -> Iterator[list[TrainingExample]]:
    """Group examples with a common prefix, up to `max_tokens` unshared tokens per group.

    Examples longer than `short_tokens`, if given, are grouped separately; both answers of a preference pair count as
    long if one is. The grouping does not change the gradient: losses are sums, divided by the weights of the whole
    batch.
    """
    if short_tokens is None:
        yield from _groups(examples, max_tokens)
        return
    for is_long in (False, True):
        alike = [example for example in examples if (_longest(example) > short_tokens) == is_long]
        yield from _groups(alike, max_tokens)


def _groups(examples: list[TrainingExample], max_tokens: int) -> Iterator[list[TrainingExample]]:
    ordered = _in_token_order(examples)
    shared = [0, *_shared_lengths(ordered), 0]
    group: list[TrainingExample] = []
    tokens = 0
    for index, example in enumerate(ordered):
        length = _packed_length(example)
        if group and tokens + length - shared[index] > max_tokens:
            yield group
            group = []
        tokens = length - shared[index + 1] if not group else tokens + length - shared[index]
        group.append(example)
    if group:
        yield group


def _in_token_order(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    return sorted(examples, key=lambda example: sort_key(example.sequences[0].ids))


def _shared_lengths(ordered: Sequence[TrainingExample]) -> list[int]:
    """The tokens that each example but the first has in common with the one before it."""
    return [common_length(left.sequences[0].ids, right.sequences[0].ids) for left, right in pairwise(ordered)]


def _longest(example: TrainingExample) -> int:
    return max(len(sequence.ids) for sequence in example.sequences)


def _packed_length(example: TrainingExample) -> int:
    """The tokens of an example alone; its sequences share their prefix."""
    first, *others = example.sequences
    return len(first.ids) + sum(len(other.ids) - common_length(first.ids, other.ids) for other in others)
