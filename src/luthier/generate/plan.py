"""Plans the questions of each topic before any is requested.

A slot is an example to generate: topic × sub-topic × task × persona × level. Each axis cycles through its values in
shuffled rounds, so all values are equally frequent. A slot depends only on seed, topic and number, so a larger plan
begins with the slots of a smaller one, and a rerun finds its replies in the journal.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.generate.diversity import LEVELS, PERSONAS, TASKS
from luthier.language import Language


@dataclass(frozen=True, slots=True)
class Plan:
    """What to generate; empty `tasks` or `personas` stand for the defaults of the language."""

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
    """One example to generate; `number` counts from 0 within its topic."""

    topic: str
    number: int
    sub_topic: str
    task: str
    persona: str
    level: str

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.number}"


def detect_language(topics: Sequence[str]) -> Language:
    """Chinese if any topic contains a Chinese character, else English."""
    return "zh" if any("\u4e00" <= character <= "\u9fff" for topic in topics for character in topic) else "en"


def plan_slots(plan: Plan, sub_topics: Mapping[str, Sequence[str]]) -> dict[str, list[Slot]]:
    """The slots of each topic; a topic without sub-topics is its own sub-topic."""
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
    """The value of slot `number` on one axis; each round of `len(values)` slots is a permutation of the values."""
    round_number, index = divmod(number, len(values))
    order = list(values)
    random.Random(f"{seed}/{round_number}").shuffle(order)  # noqa: S311 - a plan, no secret
    return order[index]
