"""Topics → slots: which questions there will be, before any is asked.

A slot is one example to be made: topic × sub-topic × task × persona × level. Each dimension runs through its values in
shuffled rounds, so all of them come equally often; a slot depends on the seed, its topic and its number alone, so a
larger plan begins with the smaller one, and a rerun finds its replies in the journal. Knows no teacher.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.generate.diversity import LEVELS, PERSONAS, TASKS
from luthier.language import Language


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted. `tasks` and `personas` may be empty: then the language's own lists are used."""

    topics: tuple[str, ...]
    per_topic: int
    seed: int
    language: Language
    tasks: tuple[str, ...] = ()
    personas: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return len(self.topics) * self.per_topic


@dataclass(frozen=True, slots=True)
class Slot:
    """One example to be made; `number` counts from 0 within its topic."""

    topic: str
    number: int
    sub_topic: str
    task: str
    persona: str
    level: str

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.number}"


def language_of(topics: Sequence[str]) -> Language:
    """Chinese when any topic has a Chinese character, else English."""
    return "zh" if any("\u4e00" <= character <= "\u9fff" for topic in topics for character in topic) else "en"


def slots(plan: Plan, sub_topics: Mapping[str, Sequence[str]]) -> dict[str, list[Slot]]:
    """The slots of each topic, `plan.per_topic` each; a topic without sub-topics stands for itself."""
    return {topic: [_slot(plan, topic, sub_topics.get(topic) or (), n) for n in range(plan.per_topic)]
            for topic in plan.topics}  # fmt: skip


def _slot(plan: Plan, topic: str, sub_topics: Sequence[str], number: int) -> Slot:
    def pick(name: str, values: Sequence[str]) -> str:
        return _pick(values, number, f"{plan.seed}/{topic}/{name}")

    return Slot(
        topic,
        number,
        pick("sub-topic", sub_topics or [topic]),
        pick("task", plan.tasks or TASKS[plan.language]),
        pick("persona", plan.personas or PERSONAS[plan.language]),
        pick("level", LEVELS[plan.language]),
    )


def _pick(values: Sequence[str], number: int, seed: str) -> str:
    """The value for a slot: each round of `len(values)` slots is a shuffle of all values."""
    turn, place = divmod(number, len(values))
    order = list(values)
    random.Random(f"{seed}/{turn}").shuffle(order)  # noqa: S311 - a plan, no secret
    return order[place]
