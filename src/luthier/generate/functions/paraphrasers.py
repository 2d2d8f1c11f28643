"""Where the words of calls come from: a teacher, or templates. Both answer the same three questions.

What they say is checked by others. Know no files and no forms of examples.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from luthier.generate.answers import answer
from luthier.generate.errors import AskError, StopError
from luthier.generate.filters import screen_answer
from luthier.generate.functions import paraphrase
from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.enumerate import Draw, Invocation
from luthier.generate.functions.no_call_dialogues import small_talk
from luthier.generate.functions.templates import fields, frame, own_phrasing, wish_of
from luthier.generate.functions.values import Own
from luthier.generate.list_prompts import Lists
from luthier.language import Language, say

BATCH = 3


class Phraser(Protocol):
    """`slot` tells requests apart; lists may come back shorter than asked for, never longer."""

    async def values(self, definition: Definition, name: str) -> list[str]:
        """For an open parameter of text; empty: others must know."""

    async def phrase(self, slot: str, batch: Sequence[Invocation], each: int) -> list[list[str]]:
        """For each invocation, whose arguments may be fewer than the function requires."""

    async def no_calls(self, turn: int, definitions: Sequence[Definition], count: int) -> list[tuple[str, str]]:
        """Messages that need no call, with their answers: at most MESSAGES, others in each turn."""


class TemplatePhraser:
    """A person's own phrasings where they name just the arguments that there are, else frames."""

    def __init__(self, own: Own, language: Language, seed: int) -> None:
        self._own, self._language = own, language
        self._dice = random.Random(f"{seed}/phrases")  # noqa: S311 - a plan, no secret
        self._draws: dict[tuple[str, frozenset[str]], Draw] = {}
        for name, templates in own.phrasings.items():
            by_fields = defaultdict(list)
            for template in templates:
                by_fields[frozenset(fields(template))].append(template)
            self._draws |= {(name, names): Draw(rows, self._dice) for names, rows in by_fields.items()}

    async def values(self, definition: Definition, name: str) -> list[str]:
        return []

    async def phrase(self, slot: str, batch: Sequence[Invocation], each: int) -> list[list[str]]:
        return [[self._one(call) for _ in range(each)] for call in batch]

    def _one(self, call: Invocation) -> str:
        draw = self._draws.get((call.definition.name, frozenset(call.arguments)))
        if draw:
            return own_phrasing(draw.next(), call.arguments, self._language)
        return frame(call, list(call.arguments), self._language, self._dice)

    async def no_calls(self, turn: int, definitions: Sequence[Definition], count: int) -> list[tuple[str, str]]:
        pairs = [(pair["user"], pair["assistant"]) for pair in self._own.no_call]
        pairs += small_talk(definitions, self._language)
        return pairs[turn * paraphrase.MESSAGES :][:count]


class TeacherPhraser:
    """Asks in lists; the answers to messages without a call are the teacher's own, told what it can do."""

    def __init__(self, lists: Lists, language: Language, system: str | None, max_tokens: int) -> None:
        self._lists, self._language, self._system, self._max_tokens = lists, language, system, max_tokens
        self._messages: list[str] = []  # that need no call, so far

    async def values(self, definition: Definition, name: str) -> list[str]:
        return await paraphrase.values(self._lists, definition, name, self._language)

    async def phrase(self, slot: str, batch: Sequence[Invocation], each: int) -> list[list[str]]:
        return await paraphrase.phrasings(self._lists, slot, batch, each, self._language)

    async def no_calls(self, turn: int, definitions: Sequence[Definition], count: int) -> list[tuple[str, str]]:
        slot, earlier = f"no_call/{turn}/{count}", self._messages
        messages = await paraphrase.no_call_messages(self._lists, slot, definitions, count, self._language, earlier)
        self._messages += messages
        asks = (self._answer(f"no_call_answers/{turn}/{at}", definitions, m) for at, m in enumerate(messages))
        texts = await asyncio.gather(*asks)
        return [(message, text) for message, text in zip(messages, texts, strict=True) if text]

    async def _answer(self, slot: str, definitions: Sequence[Definition], message: str) -> str | None:
        language = self._language
        able = "; ".join(wish_of(one, language) for one in definitions)
        style = say(
            f"You can do this and nothing else: {able}. This message needs none of it. Answer briefly in plain words; "
            "if it asks for something you cannot do, say so in one sentence.",
            f"你能办的只有：{able}。这条消息用不到它们。用一两句话直接回答；如果要求的事办不了，就用一句话说明。",
            language,
        )
        try:
            reply = await answer(
                self._lists.teacher, slot, self._system, message, style=style, max_tokens=self._max_tokens,
                temperature=0.7,
            )  # fmt: skip
        except (AskError, StopError):
            return None  # of a run that stops, the answers that came are kept
        screened = screen_answer(reply, message)
        return None if screened.reason else screened.text
