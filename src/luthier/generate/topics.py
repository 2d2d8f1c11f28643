"""Topics → examples: rounds of questions and answers until each slot holds an example or the rounds are over.

Within a round the topics run side by side; within a topic a batch of questions waits for the one before, because it is
shown it, and answers are asked for as soon as their question is there. What a round does hangs on replies and not on
their timing, so a rerun asks the same and finds the replies in the journal; what was given up before the last round
stays given up. Knows nothing about files or terminals.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.generate import questions as asking
from luthier.generate.answers import answer, direct_style
from luthier.generate.counters import Tally
from luthier.generate.errors import AskError, StopError
from luthier.generate.filters import Screened, screen_answer, screen_question
from luthier.generate.judge import Judge
from luthier.generate.list_prompts import Lists
from luthier.generate.plan import Plan, Slot, slots
from luthier.generate.similarity import Seen
from luthier.generate.teacher import Teacher

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """How the examples of a plan are made. `system` is the serving prompt and part of each example."""

    plan: Plan
    system: str | None = None
    style: str | None = None
    sub_topics: int = 8
    batch: int = 5
    max_tokens: int = 800
    temperature: float = 0.7
    lowest_score: int = 4


@dataclass(frozen=True, slots=True)
class Made:
    question: str
    answer: str


@dataclass
class TopicsRun:
    """One run over all topics. `made` and `tally` are good at any time, also after the run was stopped."""

    wish: Wish
    teacher: Teacher
    lists: Lists
    judge: Judge | None = None
    on_made: Callable[[int], None] = lambda made: None
    tally: Tally = field(default_factory=Tally)
    made: dict[Slot, Made] = field(default_factory=dict)
    _asked: dict[str, list[str]] = field(default_factory=dict)
    _seen: dict[str, Seen] = field(default_factory=dict)
    _everywhere: Seen = field(default_factory=Seen)

    async def run(self) -> None:
        """Returns when all is made, the rounds are over or the teacher has stopped."""
        plan = slots(self.wish.plan, await self._sub_topics())
        for turn in range(ROUNDS):
            waiting = {topic: [slot for slot in row if slot not in self.made] for topic, row in plan.items()}
            if self.teacher.stopped or not any(waiting.values()):
                return
            async with asyncio.TaskGroup() as group:
                for row in waiting.values():
                    group.create_task(self._round(row, turn))
            self._drop_copies([slot for row in waiting.values() for slot in row], turn)

    def examples(self) -> list[dict[str, Any]]:
        """In the order of the plan."""
        order = {topic: at for at, topic in enumerate(self.wish.plan.topics)}
        ordered = sorted(self.made.items(), key=lambda item: (order[item[0].topic], item[0].number))
        return [_example(self.wish.system, made) for _, made in ordered]

    async def _sub_topics(self) -> dict[str, list[str]]:
        plan, count = self.wish.plan, self.wish.sub_topics
        if not count:
            return {}

        async def ask(topic: str) -> list[str]:
            try:
                return await asking.sub_topics(self.lists, topic, count, plan.language)
            except (AskError, StopError):
                return []  # the topic then stands for itself

        async with asyncio.TaskGroup() as group:
            tasks = {topic: group.create_task(ask(topic)) for topic in plan.topics}
        return {topic: task.result() for topic, task in tasks.items()}

    async def _round(self, waiting: Sequence[Slot], turn: int) -> None:
        async with asyncio.TaskGroup() as group:
            for batch in _batches(waiting, self.wish.batch):
                if self.teacher.stopped:
                    return
                for slot, question in await self._questions(batch, turn):
                    group.create_task(self._answer(slot, question, turn))

    async def _questions(self, batch: Sequence[Slot], turn: int) -> list[tuple[Slot, str]]:
        """The questions that pass, each remembered as asked."""
        topic, language = batch[0].topic, self.wish.plan.language
        earlier, seen = self._asked.setdefault(topic, []), self._seen.setdefault(topic, Seen())
        try:
            found = await asking.questions(self.lists, batch, earlier, language, turn, turn == ROUNDS - 1)
        except StopError:
            return []
        except AskError as error:
            for slot in batch:
                self._reject(slot, turn, "question", "request_failed", error=str(error))
            return []
        kept = []
        for slot in batch:
            if slot not in found:
                self._reject(slot, turn, "question", "missing")
                continue
            screened = screen_question(found[slot], language)
            self.tally.count(self.tally.questions, screened)
            reason = screened.reason or (None if seen.is_new(screened.text) else "duplicate")
            if reason:
                self._reject(slot, turn, "question", reason, question=screened.text)
                continue
            earlier.append(screened.text)
            kept.append((slot, screened.text))
        return kept

    async def _answer(self, slot: Slot, question: str, turn: int) -> None:
        """Asked as served; if that answer cannot be kept, once more with a word to the teacher about style."""
        styles = (self.wish.style, direct_style(self.wish.plan.language, self.wish.max_tokens))
        for attempt, style in enumerate(styles):
            self.tally.second_tries += attempt
            try:
                screened = await self._asked_once(f"answers/{slot.id}/{turn}/{attempt}", question, style)
                reason, extra = screened.reason, dict[str, Any]()
                if reason is None:
                    reason, extra = await self._judged(f"judge/{slot.id}/{turn}/{attempt}", question, screened.text)
            except StopError:
                return
            except AskError as error:
                self._reject(slot, turn, "answer", "request_failed", question=question, error=str(error))
                return
            if reason is None:
                self.made[slot] = Made(question, screened.text)
                self.on_made(len(self.made))
                return
            self._reject(slot, turn, "answer", reason, question=question, answer=screened.text, **extra)

    async def _asked_once(self, name: str, question: str, style: str | None) -> Screened:
        wish = self.wish
        reply = await answer(
            self.teacher,
            name,
            wish.system,
            question,
            style=style,
            max_tokens=wish.max_tokens,
            temperature=wish.temperature,
        )
        screened = screen_answer(reply, question)
        self.tally.count(self.tally.answers, screened)
        return screened

    async def _judged(self, name: str, question: str, text: str) -> tuple[str | None, dict[str, Any]]:
        """Why the judge would not keep it, and what it said; (None, {}) where there is no judge."""
        if self.judge is None:
            return None, {}
        opinion = await self.judge.opinion(name, question, text)
        if opinion is None:
            self.tally.unread_opinions += 1
            return "judge_unreadable", {}
        self.tally.opinions.append(opinion)
        if opinion.lowest >= self.wish.lowest_score:
            return None, {}
        return "judge", {"scores": opinion.scores, "judge_said": opinion.reason}

    def _drop_copies(self, slots_of_round: Sequence[Slot], turn: int) -> None:
        """Across topics, in the order of the plan: what two topics have in common is kept once."""
        for slot in slots_of_round:
            made = self.made.get(slot)
            if made and not self._everywhere.is_new(made.question):
                del self.made[slot]
                self._reject(slot, turn, "question", "duplicate", question=made.question, answer=made.answer)

    def _reject(self, slot: Slot, turn: int, stage: str, reason: str, **what: Any) -> None:
        place = (self.wish.plan.topics.index(slot.topic), slot.number, turn, len(self.tally.rejects))
        self.tally.reject(place, stage, reason, topic=slot.topic, slot=slot.id, **what)


def _batches(row: Sequence[Slot], size: int) -> list[Sequence[Slot]]:
    return [row[at : at + size] for at in range(0, len(row), size)]


def _example(system: str | None, made: Made) -> dict[str, Any]:
    head = [{"role": "system", "content": system}] if system else []
    pair = [{"role": "user", "content": made.question}, {"role": "assistant", "content": made.answer}]
    return {"messages": [*head, *pair]}
