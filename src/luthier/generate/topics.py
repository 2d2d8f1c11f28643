"""Generates examples from topics, in rounds of questions and answers, until every slot is filled or the rounds end.

Within a round, topics run concurrently. Within a topic, a batch of questions waits for the previous one, which its
prompt shows, and each answer is requested as soon as its question exists. A round depends on the replies but not on
their timing, so a rerun makes the same requests and finds their replies in the journal. Requests that were given up
before the last round stay given up in reruns.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.generate.answers import direct_style, request_answer
from luthier.generate.counters import RunCounters
from luthier.generate.errors import RequestFailedError, RunStoppedError
from luthier.generate.filters import WORDLESS, ScreenedText, screen_answer, screen_question
from luthier.generate.judge import Judge
from luthier.generate.list_prompts import SHOWN_CHARACTERS, ListPrompter
from luthier.generate.plan import Plan, Slot, plan_slots
from luthier.generate.questions import request_questions, request_sub_topics
from luthier.generate.reply_text import shortened
from luthier.generate.similarity import NearDuplicateFilter
from luthier.generate.teacher import Teacher

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How to generate the examples of a plan.

    Attributes:
        system: The system prompt of serving, part of each example; None for none.
        style: An instruction for the teacher, not part of the examples; None for none.
        sub_topics: Sub-topics per topic; 0 for none.
        batch: Questions per request.
        max_tokens: The token limit of an answer.
        lowest_score: Answers with a lower score in any criterion are rejected.
    """

    plan: Plan
    system: str | None = None
    style: str | None = None
    sub_topics: int = 8
    batch: int = 5
    max_tokens: int = 800
    temperature: float = 0.7
    lowest_score: int = 4


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """An accepted question with its answer."""

    question: str
    answer: str


@dataclass
class TopicRun:
    """One run. `examples_by_slot` and `counters` are consistent at any time, even after the run was stopped."""

    spec: TopicSpec
    teacher: Teacher
    lists: ListPrompter
    judge: Judge | None = None
    on_progress: Callable[[int], None] = lambda count: None
    counters: RunCounters = field(default_factory=RunCounters)
    examples_by_slot: dict[Slot, QuestionAnswer] = field(default_factory=dict)
    _questions: dict[str, list[str]] = field(default_factory=dict)  # by topic
    _filters: dict[str, NearDuplicateFilter] = field(default_factory=dict)  # by topic
    _global_filter: NearDuplicateFilter = field(default_factory=NearDuplicateFilter)

    async def run(self) -> None:
        """Generates examples until every slot has one, the rounds are over, or the teacher has stopped."""
        plan = plan_slots(self.spec.plan, await self._sub_topics())
        for round_number in range(ROUNDS):
            pending = {
                topic: [slot for slot in slots if slot not in self.examples_by_slot] for topic, slots in plan.items()
            }
            if self.teacher.stopped or not any(pending.values()):
                return
            async with asyncio.TaskGroup() as group:
                for slots in pending.values():
                    group.create_task(self._round(slots, round_number))
            self._drop_duplicates([slot for slots in pending.values() for slot in slots], round_number)

    def examples(self) -> list[dict[str, Any]]:
        """The lines of the training file, in the order of the plan."""
        order = {topic: index for index, topic in enumerate(self.spec.plan.topics)}
        slots = sorted(self.examples_by_slot, key=lambda slot: (order[slot.topic], slot.number))
        return [_to_line(self.spec.system, self.examples_by_slot[slot]) for slot in slots]

    async def _sub_topics(self) -> dict[str, list[str]]:
        plan, count = self.spec.plan, self.spec.sub_topics
        if not count:
            return {}

        async def request(topic: str) -> list[str]:
            try:
                return await request_sub_topics(self.lists, topic, count, plan.language)
            except (RequestFailedError, RunStoppedError):
                return []  # the topic is then its own sub-topic

        async with asyncio.TaskGroup() as group:
            tasks = {topic: group.create_task(request(topic)) for topic in plan.topics}
        return {topic: task.result() for topic, task in tasks.items()}

    async def _round(self, pending: Sequence[Slot], round_number: int) -> None:
        size = self.spec.batch
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(pending), size):
                if self.teacher.stopped:
                    return
                for slot, question in await self._accepted_questions(pending[start : start + size], round_number):
                    group.create_task(self._answer(slot, question, round_number))

    async def _accepted_questions(self, batch: Sequence[Slot], round_number: int) -> list[tuple[Slot, str]]:
        """Requests the questions of a batch and returns those that pass the filters; later prompts show them."""
        topic, language = batch[0].topic, self.spec.plan.language
        existing = self._questions.setdefault(topic, [])
        is_last = round_number == ROUNDS - 1
        try:
            reply = await request_questions(self.lists, batch, existing, language, round_number, is_last)
        except RunStoppedError:
            return []
        except RequestFailedError as error:
            for slot in batch:
                self._reject(slot, round_number, "question", "request_failed", error=str(error))
            return []
        accepted = []
        for number, slot in enumerate(batch, 1):
            if number not in reply.texts:
                excerpt = shortened(reply.teacher_said, SHOWN_CHARACTERS)
                self._reject(slot, round_number, "question", "missing", teacher_said=excerpt)
                continue
            question = self._screen_question(slot, reply.texts[number], round_number)
            if question is not None:
                existing.append(question)
                accepted.append((slot, question))
        return accepted

    def _screen_question(self, slot: Slot, question: str, round_number: int) -> str | None:
        """The repaired question; None if it was rejected."""
        screened = screen_question(question, self.spec.plan.language)
        self.counters.count(self.counters.questions, screened)
        duplicates = self._filters.setdefault(slot.topic, NearDuplicateFilter())
        reason = screened.reason or (None if duplicates.add(screened.text) else "duplicate")
        if reason:
            self._reject(slot, round_number, "question", reason, question=screened.text)
            return None
        return screened.text

    async def _answer(self, slot: Slot, question: str, round_number: int) -> None:
        """Fills a slot with the answer to its question, requested with the prompt of serving.

        A rejected answer is requested again with a style instruction; an empty one is first requested again unchanged.
        """
        retry_style = direct_style(self.spec.plan.language, self.spec.max_tokens)
        attempts = [(f"{slot.id}/{round_number}/0", self.spec.style), (f"{slot.id}/{round_number}/1", retry_style)]
        repeats_left = 1
        while attempts:
            name, style = attempts.pop(0)
            try:
                screened, whole_reply = await self._screened_answer(f"answers/{name}", question, style)
                reason, details = screened.reason, dict[str, Any]()
                if reason is None:
                    reason, details = await self._judge(f"judge/{name}", question, screened.text)
            except RunStoppedError:
                return
            except RequestFailedError as error:
                self._reject(slot, round_number, "answer", "request_failed", question=question, error=str(error))
                return
            if reason is None:
                self.examples_by_slot[slot] = QuestionAnswer(question, screened.text)
                self.on_progress(len(self.examples_by_slot))
                return
            if whole_reply != screened.text:
                details["teacher_said"] = whole_reply
            self._reject(slot, round_number, "answer", reason, question=question, answer=screened.text, **details)
            if reason in WORDLESS and repeats_left:
                repeats_left -= 1
                attempts.insert(0, (f"{name}/anew", style))
            self.counters.retries += bool(attempts)

    async def _screened_answer(self, slot_name: str, question: str, style: str | None) -> tuple[ScreenedText, str]:
        """The screened answer, and the whole reply for the rejects file."""
        spec = self.spec
        reply = await request_answer(
            self.teacher,
            slot_name,
            spec.system,
            question,
            style=style,
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
        )
        screened = screen_answer(reply, question)
        self.counters.count(self.counters.answers, screened)
        return screened, reply.teacher_said

    async def _judge(self, slot_name: str, question: str, answer: str) -> tuple[str | None, dict[str, Any]]:
        """Why the judge rejects the answer, with its scores; (None, {}) if it accepts it, or without a judge."""
        if self.judge is None:
            return None, {}
        scores = await self.judge.score(slot_name, question, answer)
        if isinstance(scores, str):
            self.counters.unparsable_scores += 1
            return "judge_unreadable", {"judge_said": scores}
        self.counters.scores.append(scores)
        if scores.lowest >= self.spec.lowest_score:
            return None, {}
        return "judge", {"scores": scores.scores, "judge_said": scores.reason}

    def _drop_duplicates(self, slots_of_round: Sequence[Slot], round_number: int) -> None:
        """Rejects near duplicates across topics; the first in the order of the plan stays."""
        for slot in slots_of_round:
            example = self.examples_by_slot.get(slot)
            if example and not self._global_filter.add(example.question):
                del self.examples_by_slot[slot]
                texts = {"question": example.question, "answer": example.answer}
                self._reject(slot, round_number, "question", "duplicate", **texts)

    def _reject(self, slot: Slot, round_number: int, stage: str, reason: str, **details: Any) -> None:
        topic = self.spec.plan.topics.index(slot.topic)
        sort_key = (topic, slot.number, round_number, len(self.counters.rejects))
        self.counters.reject(sort_key, stage, reason, topic=slot.topic, slot=slot.id, **details)


def _to_line(system: str | None, example: QuestionAnswer) -> dict[str, Any]:
    system_messages = [{"role": "system", "content": system}] if system else []
    return {
        "messages": [
            *system_messages,
            {"role": "user", "content": example.question},
            {"role": "assistant", "content": example.answer},
        ]
    }
