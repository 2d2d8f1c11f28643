"""A definition → invocations that satisfy its schema: all combinations of closed choices, open values drawn.

Each round goes once through every combination of optional parameters and closed choices, in a shuffled order (through
a sample where there are too many), and draws a value for each open parameter; the pools are gone through in shuffled
order too, so that bounds and rare values come up. Seeded. Knows values and no words.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations, islice, product
from math import prod
from typing import Any

from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.values import choices, is_closed

MOST_COMBINATIONS = 2000  # listed one by one; of more, so many are sampled per round


@dataclass(frozen=True)
class Invocation:
    """A call that the schema allows."""

    definition: Definition
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        return self.definition.name + json.dumps(self.arguments, ensure_ascii=False, sort_keys=True)


class Draw:
    """The values of a pool in shuffled rounds."""

    def __init__(self, pool: list[Any], dice: random.Random) -> None:
        self._pool, self._dice, self._left = pool, dice, list[Any]()

    def next(self) -> Any:
        if not self._left:
            self._left = self._dice.sample(self._pool, len(self._pool))
        return self._left.pop()


def invocations(definition: Definition, pools: dict[str, list[Any]], seed: int) -> Iterator[Invocation]:
    """Different ones, as long as there are any; `pools` holds the values of each open parameter."""
    dice = random.Random(f"{seed}/{definition.name}")  # noqa: S311 - a plan, no secret
    draws = {name: Draw(pool, dice) for name, pool in pools.items()}
    seen: set[str] = set()
    barren = 0
    while barren < 20:  # rounds without anything new: all there is has been seen, or nearly
        new = 0
        for closed, names in _combinations(definition, dice):
            drawn = {name: draws[name].next() for name in names if name in draws}
            arguments = {name: (closed | drawn)[name] for name in names}
            made = Invocation(definition, arguments)
            if made.key not in seen:
                seen.add(made.key)
                new += 1
                yield made
        barren = 0 if new else barren + 1


def _combinations(definition: Definition, dice: random.Random) -> list[tuple[dict[str, Any], list[str]]]:
    """Closed values by name, with the names of all parameters that are present, in the definition's order."""
    closed = {name: choices(schema) for name, schema in definition.properties.items() if is_closed(schema)}
    optional = [name for name in definition.properties if name not in definition.required]
    count = prod(len(values) for values in closed.values()) * 2 ** len(optional)
    if count > MOST_COMBINATIONS:
        return [_sampled(definition, closed, optional, dice) for _ in range(MOST_COMBINATIONS)]
    subsets = chain.from_iterable(combinations(optional, size) for size in range(len(optional) + 1))
    found = []
    for chosen in subsets:
        names = _present(definition, chosen)
        inside = [name for name in names if name in closed]
        found += [(dict(zip(inside, row, strict=True)), names) for row in product(*(closed[name] for name in inside))]
    dice.shuffle(found)
    return found


def _sampled(
    definition: Definition, closed: dict[str, list[Any]], optional: list[str], dice: random.Random
) -> tuple[dict[str, Any], list[str]]:
    names = _present(definition, [name for name in optional if dice.random() < 0.5])
    return {name: dice.choice(closed[name]) for name in names if name in closed}, names


def _present(definition: Definition, optional: Any) -> list[str]:
    return [name for name in definition.properties if name in definition.required or name in optional]


def first(definition: Definition, pools: dict[str, list[Any]], seed: int, count: int) -> list[Invocation]:
    """The first `count`, or as many as there are."""
    return list(islice(invocations(definition, pools, seed), count))
