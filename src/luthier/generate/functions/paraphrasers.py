"""Sources of user messages: a teacher, or templates. The messages are not verified here."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from luthier.generate.answers import request_answer
from luthier.generate.errors import RequestFailedError, RunStoppedError
from luthier.generate.filters import WORDLESS, screen_answer
from luthier.generate.functions import paraphrase
from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.enumerate import Invocation, ShuffledDraw
from luthier.generate.functions.no_call_dialogues import no_call_dialogues
from luthier.generate.functions.templates import fill_phrasing, frame_message, request_phrase, template_fields
from luthier.generate.functions.values import UserContent
from luthier.generate.list_prompts import ListPrompter
from luthier.language import Language, say

BATCH = 3


class Paraphraser(Protocol):
    """A source of user messages. `slot` identifies a request; lists may be shorter than requested, never longer."""

    async def values(self, definition: FunctionDefinition, name: str) -> list[str]:
        """Values for the open text parameter `name`; empty if the source has none."""

    async def phrase(self, slot: str, batch: Sequence[Invocation], each: int) -> list[list[str]]:
        """Up to `each` messages for each invocation, which may lack required arguments."""

    async def no_calls(
        self, batch_number: int, definitions: Sequence[FunctionDefinition], count: int
    ) -> list[tuple[str, str]]:
        """Up to `count` messages that need no call, with their answers; each batch has different ones.

        `count` is at most MESSAGES_PER_REQUEST.
        """


class TemplateParaphraser:
    """Phrases calls with the user's phrasings that name exactly the arguments of a call, else with generic frames."""

    def __init__(self, user_content: UserContent, language: Language, seed: int) -> None:
        self._user_content, self._language = user_content, language
        self._rng = random.Random(f"{seed}/phrases")  # noqa: S311 - a plan, no secret
        self._draws: dict[tuple[str, frozenset[str]], ShuffledDraw] = {}
        for name, templates in user_content.phrasings.items():
            by_fields = defaultdict(list)
            for template in templates:
                by_fields[frozenset(template_fields(template))].append(template)
            self._draws |= {(name, names): ShuffledDraw(templates, self._rng) for names, templates in by_fields.items()}

    async def values(self, definition: FunctionDefinition, name: str) -> list[str]:
        return []

    async def phrase(self, slot: str, batch: Sequence[Invocation], each: int) -> list[list[str]]:
        return [[self._phrasing(call) for _ in range(each)] for call in batch]

    def _phrasing(self, call: Invocation) -> str:
        draw = self._draws.get((call.definition.name, frozenset(call.arguments)))
        if draw:
            return fill_phrasing(draw.next(), call.arguments, self._language)
        return frame_message(call, list(call.arguments), self._language, self._rng)

    async def no_calls(
        self, batch_number: int, definitions: Sequence[FunctionDefinition], count: int
    ) -> list[tuple[str, str]]:
        pairs = [(pair["user"], pair["assistant"]) for pair in self._user_content.no_call]
        pairs += no_call_dialogues(definitions, self._language)
        return pairs[batch_number * paraphrase.MESSAGES_PER_REQUEST :][:count]


class TeacherParaphraser:
    """Requests messages from a teacher, which also answers those that need no call, knowing the functions."""

    def __init__(self, lists: ListPrompter, language: Language, system: str | None, max_tokens: int) -> None:
        self._lists, self._language, self._system, self._max_tokens = lists, language, system, max_tokens
        self._no_call_messages: list[str] = []  # those of all earlier batches

    async def values(self, definition: FunctionDefinition, name: str) -> list[str]:
        return await paraphrase.request_values(self._lists, definition, name, self._language)

    async def phrase(self, slot: str, batch: Sequence[Invocation], each: int) -> list[list[str]]:
        return await paraphrase.request_phrasings(self._lists, slot, batch, each, self._language)

    async def no_calls(
        self, batch_number: int, definitions: Sequence[FunctionDefinition], count: int
    ) -> list[tuple[str, str]]:
        slot, existing = f"no_call/{batch_number}/{count}", self._no_call_messages
        messages = await paraphrase.request_no_call_messages(
            self._lists, slot, definitions, count, self._language, existing
        )
        self._no_call_messages += messages
        slot = f"no_call_answers/{batch_number}"
        answers = (self._answer(f"{slot}/{index}", definitions, message) for index, message in enumerate(messages))
        texts = await asyncio.gather(*answers)
        return [(message, text) for message, text in zip(messages, texts, strict=True) if text]

    async def _answer(self, slot: str, definitions: Sequence[FunctionDefinition], message: str) -> str | None:
        """The teacher's answer to a message without a call; None if it was rejected or the request failed."""
        language = self._language
        abilities = "; ".join(request_phrase(definition, language) for definition in definitions)
        style = say(
            f"You can do this and nothing else: {abilities}. This message needs none of it. Answer briefly in plain "
            "words; if it asks for something you cannot do, say so in one sentence.",
            f"你能办的只有：{abilities}。这条消息用不到它们。用一两句话直接回答；如果要求的事办不了，就用一句话说明。",
            language,
        )
        for name in (slot, f"{slot}/anew"):
            try:
                reply = await request_answer(
                    self._lists.teacher, name, self._system, message, style=style, max_tokens=self._max_tokens,
                    temperature=0.7,
                )  # fmt: skip
            except (RequestFailedError, RunStoppedError):
                return None  # the other messages still get their answers
            screened = screen_answer(reply, message)
            if screened.reason is None:
                return screened.text
            self._lists.reject(name, "no_call_answer", screened.reason, reply.teacher_said, user=message)
            if screened.reason not in WORDLESS:
                break
        return None
