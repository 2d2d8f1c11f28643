"""Enumerates the invocations that a definition allows: every combination of closed values, with open values drawn.

A closed parameter has a finite list of values (enum, const or boolean); an open one draws its values from a pool. Each
round goes once through the combinations of optional parameters and closed values in shuffled order, or through a sample
of them, and draws a value for each open parameter. Pools are drawn in shuffled rounds too, so that bounds and rare
values occur. The order depends only on the seed.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations, islice, product
from math import prod
from typing import Any

from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.values import closed_values, is_closed

MAX_COMBINATIONS = 2000  # per round; where there are more, this many are sampled


@dataclass(frozen=True)
class Invocation:
    """A call of a function with arguments that its schema allows."""

    definition: FunctionDefinition
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        return self.definition.name + json.dumps(self.arguments, ensure_ascii=False, sort_keys=True)


class ShuffledDraw:
    """Draws from a pool in shuffled rounds: each round returns every value once."""

    def __init__(self, pool: list[Any], rng: random.Random) -> None:
        self._pool, self._rng, self._remaining = pool, rng, list[Any]()

    def next(self) -> Any:
        if not self._remaining:
            self._remaining = self._rng.sample(self._pool, len(self._pool))
        return self._remaining.pop()


def invocations(definition: FunctionDefinition, pools: dict[str, list[Any]], seed: int) -> Iterator[Invocation]:
    """Distinct invocations of a function, until nearly all have occurred; `pools` has the values of open parameters."""
    rng = random.Random(f"{seed}/{definition.name}")  # noqa: S311 - a plan, no secret
    draws = {name: ShuffledDraw(pool, rng) for name, pool in pools.items()}
    keys: set[str] = set()
    rounds_without_new = 0
    while rounds_without_new < 20:  # after that, nearly all invocations have occurred
        new = 0
        for closed, names in _combinations(definition, rng):
            open_values = {name: draws[name].next() for name in names if name in draws}
            arguments = {name: (closed | open_values)[name] for name in names}
            invocation = Invocation(definition, arguments)
            if invocation.key not in keys:
                keys.add(invocation.key)
                new += 1
                yield invocation
        rounds_without_new = 0 if new else rounds_without_new + 1


def _combinations(definition: FunctionDefinition, rng: random.Random) -> list[tuple[dict[str, Any], list[str]]]:
    """The combinations of one round: closed values by name, and the names of all arguments in definition order."""
    closed = {name: closed_values(schema) for name, schema in definition.properties.items() if is_closed(schema)}
    optional = [name for name in definition.properties if name not in definition.required]
    count = prod(len(choices) for choices in closed.values()) * 2 ** len(optional)
    if count > MAX_COMBINATIONS:
        return [_sample_combination(definition, closed, optional, rng) for _ in range(MAX_COMBINATIONS)]
    subsets = chain.from_iterable(combinations(optional, size) for size in range(len(optional) + 1))
    all_combinations = []
    for chosen in subsets:
        names = _present_names(definition, chosen)
        closed_names = [name for name in names if name in closed]
        for values in product(*(closed[name] for name in closed_names)):
            all_combinations.append((dict(zip(closed_names, values, strict=True)), names))
    rng.shuffle(all_combinations)
    return all_combinations


def _sample_combination(
    definition: FunctionDefinition, closed: dict[str, list[Any]], optional: list[str], rng: random.Random
) -> tuple[dict[str, Any], list[str]]:
    names = _present_names(definition, [name for name in optional if rng.random() < 0.5])
    return {name: rng.choice(closed[name]) for name in names if name in closed}, names


def _present_names(definition: FunctionDefinition, optional: Any) -> list[str]:
    return [name for name in definition.properties if name in definition.required or name in optional]


def take_invocations(
    definition: FunctionDefinition, pools: dict[str, list[Any]], seed: int, count: int
) -> list[Invocation]:
    """The first `count` invocations, or all if there are fewer."""
    return list(islice(invocations(definition, pools, seed), count))
