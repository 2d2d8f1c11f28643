"""In which order examples are trained, and which of a step are computed together. Knows no model."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from luthier.data.rendering.tool_dropout import Mix
from luthier.training.dataset import Tokens
from luthier.training.packing.prefix_tree import common_length, sort_key


@dataclass(frozen=True)
class Item:
    """An example: one conversation, or the two of a preference with their log-probabilities before training."""

    index: int
    parts: tuple[Tokens, ...]
    reference: tuple[float, ...] = ()


@lru_cache(maxsize=1)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the examples in an epoch; a function of its arguments alone, so that a resumed job agrees."""
    return np.random.default_rng([seed, epoch]).permutation(count)


@lru_cache(maxsize=1)
def order_of_mix(seed: int, epoch: int, count: int, size: int, mix: Mix) -> np.ndarray:
    """The same, for examples whose definitions are shown in a mix: batches of `size` that are shown alike.

    Long definitions are then computed in the steps that show them, once each, and not in every step.
    """
    shuffled = order(seed, epoch, count)
    alike = shuffled[np.argsort(mix.shown(seed, epoch, count)[shuffled], kind="stable")]
    whole = count // size * size
    chance = np.random.default_rng([seed, epoch, size])
    return np.concatenate([chance.permutation(alike[:whole].reshape(-1, size)).ravel(), alike[whole:]])


def micro_batches(items: list[Item], most_tokens: int) -> Iterator[list[Item]]:
    """Items that begin alike together, as many as `most_tokens` hold of what they do not share.

    It changes no result, since the loss is a sum divided by that of the weights of the whole step.
    """
    ordered = sorted(items, key=lambda item: sort_key(item.parts[0].ids))
    alike = [0, *(common_length(one.parts[0].ids, two.parts[0].ids) for one, two in pairwise(ordered)), 0]
    group: list[Item] = []
    tokens = 0
    for place, item in enumerate(ordered):
        whole = _computed(item)
        if group and tokens + whole - alike[place] > most_tokens:
            yield group
            group = []
        tokens = whole - alike[place + 1] if not group else tokens + whole - alike[place]
        group.append(item)
    if group:
        yield group


def _computed(item: Item) -> int:
    """Tokens of an item by itself; its conversations share their beginning."""
    first, *others = item.parts
    return len(first.ids) + sum(len(other.ids) - common_length(first.ids, other.ids) for other in others)
