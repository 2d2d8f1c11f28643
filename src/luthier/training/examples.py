"""From a JSONL file to rendered examples and micro-batches. Knows nothing about the model but its context length."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from luthier.data.examples import read_examples
from luthier.data.render import Rendered, Renderer
from luthier.training.prefixes import common_length, sort_key
from luthier.types.errors import JobError, RenderError

# Tokens of a micro-batch, prefixes that its examples share aside: what is computed at once. It bounds memory and
# changes no result, since the loss is a sum over trained tokens divided by those of the whole step.
_MICRO_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Examples:
    """`truncated` counts examples that were longer than the base model's context and lost their end."""

    rendered: list[Rendered]
    truncated: int

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.rendered)


def load(path: Path, renderer: Renderer, context_tokens: int, param: str) -> Examples:
    """Raises JobError when an example has nothing to train."""
    rendered, truncated = [], 0
    for example in read_examples(path):
        try:
            whole = renderer.example(example)
        except RenderError as error:
            raise JobError(f"invalid_{param}", f"Line {example.line}: {error}", param) from error
        truncated += len(whole.ids) > context_tokens
        made = Rendered(whole.ids[:context_tokens], whole.weights[:context_tokens])
        if not any(made.weights[1:]):
            why = f"beyond {context_tokens} tokens" if any(whole.weights[1:]) else "with a weight of 0"
            raise JobError(
                f"invalid_{param}",
                f"Line {example.line} has nothing to train: every assistant answer lies {why}. "
                "Shorten the example or remove it.",
                param,
            )
        rendered.append(made)
    return Examples(rendered, truncated)


def order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of the examples in an epoch; a function of its arguments alone, so that a resumed job agrees."""
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(count)]


def micro_batches(examples: list[Rendered]) -> Iterator[list[Rendered]]:
    """Examples that begin alike together, as many as fit the bound with what they do not share."""
    ordered = sorted(examples, key=lambda example: sort_key(example.ids))
    alike = [0, *(common_length(one.ids, two.ids) for one, two in pairwise(ordered)), 0]
    group: list[Rendered] = []
    tokens = 0
    for place, example in enumerate(ordered):
        own = len(example.ids) - alike[place if group else place + 1]
        if group and tokens + own > _MICRO_BATCH_TOKENS:
            yield group
            group, tokens = [], 0
            own = len(example.ids) - alike[place + 1]
        group.append(example)
        tokens += own
    yield group
