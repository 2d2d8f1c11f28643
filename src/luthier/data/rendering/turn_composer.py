"""Composes conversations turn by turn from what a chat template writes for each turn.

Many templates write an answer differently once another turn follows it: they drop its reasoning, or end it with another
token. At serving, a model must see exactly the tokens that it was trained on. So each answer is rendered as the
template writes it at the end of a conversation, and is kept unchanged: a conversation is only ever appended to.

The template renders short conversations in which a character that occurs nowhere else stands for the answer. This shows
what it writes before and after an answer, without knowledge of its markup. Definitions are written once, before the
first answer. The cost is linear in the number of turns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.thinking_reader import reasoning_marks
from luthier.types.errors import RenderError

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None

_PROMPT, _ANSWER, _REASON = "\ue100", "\ue101", "\ue102"  # placeholders of a question, its answer and the reasoning
_QUESTION: dict[str, Any] = {"role": "user", "content": _PROMPT}
_LEFT_OUT = "The base model's chat template leaves out an answer."


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered conversation. `message`: the index of the assistant message whose answer it is; None for
    text between answers.
    """

    text: str
    message: int | None = None


@dataclass(frozen=True)
class _Frame:
    """The text around a template's answers.

    Attributes:
        lead: What the template writes between a question and its answer.
        opens_reasoning: Whether the prompt for that answer ends with the mark that opens reasoning.
    """

    lead: str
    opens_reasoning: bool


class TurnComposer:
    def __init__(self, template: Template, end_marks: Sequence[str], options: Mapping[str, Any] | None = None) -> None:
        """`end_marks`: the tokens that may end a turn."""
        self._template, self._options, self.end_marks = template, options or {}, end_marks
        self.marks = reasoning_marks(template.text)
        self._opening = re.compile(re.escape(self.marks.opening) + r"\s*\Z")
        self._end_mark = re.compile("|".join(map(re.escape, sorted(end_marks, key=len, reverse=True))) or r"(?!)")

    def segments(self, messages: Messages, tools: Tools, *, answer_next: bool, thinking: bool = False) -> list[Segment]:
        """The conversation, cut at both ends of every answer. `thinking`: whether the next answer is to have reasoning.

        Raises:
            RenderError: The template rejects the conversation, or leaves out an answer.
        """
        answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        if not answers:
            text = self._prompt(messages, tools, thinking) if answer_next else self._text(messages, tools)
            return [Segment(text)]
        head = messages[: answers[0]]
        segments = [Segment(self._prompt(head, tools, self._thinks(messages[answers[0]])))]
        sentinel = lossless_json.unused_character(messages, _PROMPT)
        for index, following in zip(answers, [*answers[1:], len(messages)], strict=True):
            is_last = following == len(messages)
            thinks = thinking if is_last else self._thinks(messages[following])
            block = messages[index + 1 : following]
            answer = _MarkedAnswer(messages[index], sentinel)
            text, between = self._answer(answer, block, answer_next or not is_last, thinks)
            if self._thinks(messages[index]):
                text = self._opened_once(text, segments[-1].text)
            segments += [Segment(text, index), Segment(between)]
        return segments

    @property
    def opens_reasoning(self) -> bool:
        """Whether every prompt ends with the mark that opens reasoning."""
        return self._frame.opens_reasoning

    @cached_property
    def end_of_answer(self) -> str:
        """What the template writes at the end of an answer of text."""
        answer = _MarkedAnswer({"role": "assistant", "content": _REASON}, _ANSWER)
        return self._answer(answer, [], True, False)[0].partition(_REASON)[2]

    @staticmethod
    def _thinks(message: dict[str, Any]) -> bool:
        return bool(message.get("reasoning_content"))

    def _text(self, messages: Messages, tools: Tools = None, *, answer_next: bool = False, thinks: bool = False) -> str:
        return self._template.render(messages, tools, answer_next=answer_next, thinking=thinks, options=self._options)

    def _opened_once(self, answer: str, prompt: str) -> str:
        """An answer with reasoning, adjusted so that either `prompt` or the answer opens the reasoning, but not both.

        After results, some templates open it in both, some in neither.
        """
        is_open, opens = self._opening.search(prompt), answer.startswith(self.marks.opening)
        if is_open and opens:
            return answer.removeprefix(self.marks.opening).lstrip("\n")
        if not is_open and not opens and self._thinking_frame.opens_reasoning:
            return f"{self.marks.opening}\n{answer}"
        return answer

    def _prompt(self, messages: Messages, tools: Tools, thinks: bool) -> str:
        text = self._text(messages, tools, answer_next=True, thinks=thinks)
        return text if thinks else self._without_reasoning(text)

    def _without_reasoning(self, prompt: str) -> str:
        """Ends reasoning that the template opens although it is turned off."""
        return prompt + self.marks.end if self._opening.search(prompt) else prompt

    def _answer(
        self, answer: "_MarkedAnswer", block: Messages, answer_next: bool, next_thinks: bool
    ) -> tuple[str, str]:
        """(the answer with the mark that ends it, the text from there to the next answer)."""
        thinks = self._thinks(answer.message)
        text = self._without_lead(answer.message, thinks)
        tail = self._behind_answer(answer, [], thinks=thinks)
        following = self._behind_answer(answer, block, answer_next=answer_next, thinks=next_thinks)
        reference = following if block else self._behind_answer(answer, [answer.next_message])
        end, between = self._cut(tail, reference, following)
        if answer_next and not next_thinks:
            between = self._without_reasoning(between)
        text = text[: len(text) - (len(tail) - len(end))]
        if self._end_mark.search(end):
            return text, between
        mark = self._mark_of_next_turn(answer)
        return text + mark, between.removeprefix(mark)

    def _without_lead(self, message: dict[str, Any], thinks: bool) -> str:
        """What the template writes for an answer after its prompt, if it is the last message."""
        frame = self._thinking_frame if thinks else self._frame
        text = self._text([_QUESTION, message], thinks=thinks).partition(_PROMPT)[2]
        if not text.startswith(frame.lead):
            raise RenderError("The base model's chat template writes this answer differently from other answers.")
        text = text[len(frame.lead) :]
        if not thinks or message["reasoning_content"].strip() in text:
            return text
        if not frame.opens_reasoning:
            raise RenderError(
                "The base model's chat template has no place for reasoning_content: remove it from the example."
            )
        return str(message["reasoning_content"]) + self.marks.end + text.lstrip("\n")

    def _behind_answer(
        self, answer: "_MarkedAnswer", block: Messages, *, answer_next: bool = False, thinks: bool = False
    ) -> str:
        messages = [_QUESTION, answer.marked, *block]
        _, mark, behind = self._text(messages, answer_next=answer_next, thinks=thinks).rpartition(answer.sentinel)
        if not mark:
            raise RenderError(_LEFT_OUT)
        return behind

    def _mark_of_next_turn(self, answer: "_MarkedAnswer") -> str:
        """The mark that ends an answer if the template writes none at its end: the one that begins the next turn."""
        mark = self._end_mark.match(self._behind_answer(answer, [answer.next_message]).lstrip())
        return mark[0] if mark else ""

    def _cut(self, tail: str, reference: str, following: str) -> tuple[str, str]:
        """(the end of the answer, what follows it).

        Args:
            tail: What the template writes after the answer if it is the last message.
            reference: The same if another turn follows the answer.
            following: The same in this conversation.
        """
        end = tail.rstrip()  # the line break after the end of a turn is never generated
        if not reference.startswith(end):
            shared = list(self._end_mark.finditer(_common(tail, reference)))
            last = shared[-1] if shared else self._end_mark.search(tail)
            end = tail[: last.end()] if last else ""
        if following.startswith(end):
            return end, following[len(end) :]
        mark = self._end_mark.search(following)
        if not (end and mark):
            raise RenderError("The base model's chat template ends an answer differently once another turn follows it.")
        return end, following[mark.end() :]

    @cached_property
    def _frame(self) -> _Frame:
        return self._new_frame({"role": "assistant", "content": _ANSWER}, thinks=False)

    @cached_property
    def _thinking_frame(self) -> _Frame:
        answer = {"role": "assistant", "content": _ANSWER, "reasoning_content": _REASON}
        return self._new_frame(answer, thinks=True)

    def _new_frame(self, answer: dict[str, Any], *, thinks: bool) -> _Frame:
        prompt = self._text([_QUESTION], answer_next=True, thinks=thinks).partition(_PROMPT)[2]
        text = self._text([_QUESTION, answer], thinks=thinks).partition(_PROMPT)[2]
        before, mark, _ = text.partition(_REASON if _REASON in text else _ANSWER)
        if not mark:
            raise RenderError(_LEFT_OUT)
        return _Frame(_shared(prompt, before), bool(self._opening.search(prompt)))


def _shared(prompt: str, before: str) -> str:
    """The part of the prompt that the template also writes if an answer follows. `before`: what it then writes before
    the answer. Raises RenderError if the two differ.
    """
    if before.startswith(prompt):
        return prompt
    shared = _common(prompt, before)
    if shared != before and before[len(shared) :].strip():
        raise RenderError(
            "The base model's chat template writes other text before an answer than in the prompt for it."
        )
    return shared


def _common(first: str, second: str) -> str:
    """The longest common prefix."""
    pairs = enumerate(zip(first, second, strict=False))
    return first[: next((size for size, pair in pairs if pair[0] != pair[1]), min(len(first), len(second)))]


@dataclass(frozen=True)
class _MarkedAnswer:
    """An answer that can be marked with `sentinel`, a character that occurs nowhere in the conversation."""

    message: dict[str, Any]
    sentinel: str

    @property
    def next_message(self) -> dict[str, Any]:
        """A message that may follow the answer."""
        calls = self.message.get("tool_calls")
        return {"role": "tool", "content": "", "tool_call_id": calls[-1].get("id")} if calls else _QUESTION

    @cached_property
    def marked(self) -> dict[str, Any]:
        """The message with the sentinel at the end of what the template writes for it."""
        calls = self.message.get("tool_calls")
        if not calls:
            return {**self.message, "content": self.sentinel}
        function = calls[-1]["function"]
        arguments = function["arguments"]
        if isinstance(arguments, dict):
            marked: Any = {**arguments, self.sentinel: self.sentinel}
        else:
            marked = lossless_json.dumps(arguments) + self.sentinel
        last = {**calls[-1], "function": {**function, "arguments": marked}}
        return {**self.message, "tool_calls": [*calls[:-1], last]}
