"""Requests a numbered list of short texts and parses the reply; all planning requests have this form.

Teachers that support JSON schemas return the list as JSON, which leaves no room for "好的，以下是……" around it. Others
are asked for numbered lines, and all other lines are dropped. A thinking block is never parsed as a list.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.generate.errors import RequestFailedError, RequestRejectedError, UnusableListsError
from luthier.generate.journal import TeacherRequest
from luthier.generate.list_parsing import parse_list, read_json, strip_quotes
from luthier.generate.reply_text import shortened
from luthier.generate.teacher import Teacher
from luthier.generate.thinking_room import ask_with_room, thinks_fact
from luthier.language import Language, say

_MAX_EXISTING_SHOWN = 40  # earlier texts that a prompt lists
_REPEATS = 1  # how often an unusable list is requested again
_MAX_UNUSABLE_LISTS = 4  # consecutive unusable lists after which the run stops
SHOWN_CHARACTERS = 2000  # characters of a reply that the rejects file shows
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"number": {"type": "integer"}, "text": {"type": "string"}},
                "required": ["number", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["items"],
    "additionalProperties": False,
}
_PROBE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"capital": {"type": "string"}},
    "required": ["capital"],
    "additionalProperties": False,
}


async def supports_json_schema(teacher: Teacher) -> bool:
    """Whether the teacher follows a JSON schema. Probed once per journal.

    Some services reject `response_format`, others accept and ignore it, so the prompt of the probe does not ask for
    JSON.
    """
    fact = f"takes_schema {teacher.model}"
    recorded = teacher.journal.get_fact(fact)
    if recorded is not None:
        return bool(recorded)
    question = {"role": "user", "content": "What is the capital of France?"}
    try:
        reply = await ask_with_room(
            teacher, TeacherRequest("probe", (question,), max_tokens=64, temperature=0.0, schema=_PROBE_SCHEMA)
        )
        if reply.thinks_aloud:
            teacher.journal.set_fact(thinks_fact(teacher.model), True)
        value = read_json(reply.words)
        is_supported = isinstance(value, dict) and isinstance(value.get("capital"), str)
    except RequestRejectedError:
        is_supported = False
    teacher.journal.set_fact(fact, is_supported)
    return is_supported


def with_existing_texts(prompt: str, heading: str, existing: Sequence[str]) -> str:
    """`prompt`, followed by `heading` and the newest of the `existing` texts, which the teacher must not repeat."""
    lines = [f"- {text}" for text in existing[-_MAX_EXISTING_SHOWN:]]
    return "\n".join([prompt, heading, *lines]) if lines else prompt


@dataclass(frozen=True, slots=True)
class ListReply:
    """A parsed list.

    Attributes:
        texts: The texts by number, from 1; numbers that could not be parsed are absent.
        teacher_said: The whole reply, for the rejects file.
    """

    texts: dict[int, str]
    teacher_said: str = ""

    def ordered(self) -> list[str]:
        """The distinct texts in the order of their numbers."""
        return list(dict.fromkeys(self.texts[number] for number in sorted(self.texts)))


class ListPrompter:
    """Requests lists from a teacher.

    Attributes:
        structured: Whether lists are requested as JSON.
        counts: Replies that were not in the schema, truncated or unusable.
        rejects: Lines of the rejects file.
    """

    def __init__(self, teacher: Teacher, structured: bool, temperature: float = 0.7) -> None:
        self.teacher, self.structured, self.counts = teacher, structured, Counter[str]()
        self.rejects: list[dict[str, Any]] = []
        self._temperature, self._unusable_in_a_row = temperature, 0

    async def request_list(
        self,
        slot: str,
        system: str,
        prompt: str,
        count: int,
        language: Language,
        *,
        tokens_per_text: int = 100,
        last: bool = False,
        is_usable: Callable[[str], bool] = bool,
    ) -> ListReply:
        """Requests `count` texts and returns those that could be parsed.

        A list without a usable text is requested once more, as numbered lines.

        Args:
            slot: Identifies the request in the journal.
            tokens_per_text: The token limit per text.
            last: Whether this is the last attempt. The failure of an earlier attempt is recorded, so that reruns skip
                the request and the later prompts stay the same.
            is_usable: Whether a text is usable.

        Raises:
            RequestFailedError: The request was given up.
            UnusableListsError: Several lists in a row were unusable.
            RunStoppedError: The run must stop.
        """
        max_tokens, reply = 64 + tokens_per_text * count, ListReply({})
        for attempt in range(1 + _REPEATS):
            structured = self.structured and attempt == 0
            instruction = "" if structured else _numbered_lines_instruction(count, language)
            messages = ({"role": "system", "content": system}, {"role": "user", "content": prompt + instruction})
            schema = _SCHEMA if structured else None
            name = f"{slot}/anew-{attempt}" if attempt else slot
            request = TeacherRequest(name, messages, max_tokens, self._temperature, schema)
            reply = await self._request(request, count, last)
            if any(is_usable(text) for text in reply.texts.values()):
                self._unusable_in_a_row = 0
                return reply
            self.counts["unusable"] += 1
            self.reject(name, "list", "unusable", reply.teacher_said)
        self._unusable_in_a_row += 1
        if self._unusable_in_a_row >= _MAX_UNUSABLE_LISTS:
            raise self.teacher.stop(_unusable_lists(self.teacher.model, self._unusable_in_a_row, reply.teacher_said))
        return reply

    async def _request(self, request: TeacherRequest, count: int, last: bool) -> ListReply:
        try:
            reply = await ask_with_room(self.teacher, request)
        except RequestFailedError as error:
            if not last:
                self.teacher.mark_given_up(request, error)
            raise
        is_truncated = reply.finish_reason == "length"
        self.counts["lists_cut_off"] += is_truncated
        texts, form = parse_list(reply.words, count)
        self.counts["bad_json"] += bool(request.schema) and form != "schema"
        if is_truncated and texts and form == "lines" and not request.schema:
            texts.pop(max(texts))  # the last line was cut off
        stripped = {number: strip_quotes(text) for number, text in texts.items() if 1 <= number <= count}
        return ListReply({number: text for number, text in stripped.items() if text}, reply.teacher_said)

    def reject(self, slot: str, stage: str, reason: str, teacher_said: str, **details: Any) -> None:
        excerpt = shortened(teacher_said, SHOWN_CHARACTERS)
        self.rejects.append({"stage": stage, "reason": reason, "slot": slot, **details, "teacher_said": excerpt})

    def reject_lines(self) -> list[dict[str, Any]]:
        """The lines of the rejects file, sorted by slot, so that the order does not depend on timing."""
        return sorted(self.rejects, key=lambda line: str(line["slot"]))


def _unusable_lists(model: str, count: int, teacher_said: str) -> UnusableListsError:
    excerpt = shortened(" ".join(teacher_said.split()), 200)
    return UnusableListsError(
        say(
            f'{model} gave no usable list {count} times in a row; the last reply: "{excerpt}". '
            "Choose a more capable teacher (--teacher). Every reply is in the rejects.",
            f"{model} 连续 {count} 次没有给出可用的列表；最近一次回复：“{excerpt}”。"
            "请换一个能力更强的教师模型（--teacher）。所有回复都写在剔除文件里。",
        )
    )


def _numbered_lines_instruction(count: int, language: Language) -> str:
    if count == 1:
        return say("\n\nWrite this one line and nothing else.", "\n\n只输出这一行，不要输出任何其他文字。", language)
    return say(
        f"\n\nWrite exactly {count} lines, each beginning with its number: 1. to {count}. Write nothing else.",
        f"\n\n只输出 {count} 行，每行以编号开头，从“1.”到“{count}.”，不要输出任何其他文字。",
        language,
    )
