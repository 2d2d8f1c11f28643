"""Turns that do not occur when a model is served: questions with a preamble, two answers in a row, no question.

A question written by a generator may begin with its acceptance of the task (好的，这里有一个关于股票的问题：…). After
the first of two answers, a served model stops.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.batch import Batch
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, printable
from luthier.data.findings.kinds import Kind

_ACCEPTS = (
    r"(?:好的|好|当然可以|当然|没有?问题|可以的?|明白了?|收到)[，,。.！!~\s]+"
    r"|(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great|no problem|gladly)[!.,\s]+"
)
_ANNOUNCES = (
    r"(?:这里|这儿|以下|下面|如下)[^。！？!?：:\n]{0,40}(?:问题|提问|疑问|题目|例子|示例)[^。！？!?：:\n]{0,15}[：:]"
    r"|(?:here(?:'s|’s| is| are)|below (?:is|are)|this is)\b[^.!?:\n]{0,80}"
    r"\b(?:questions?|quer(?:y|ies)|prompts?|examples?|requests?)\b[^.!?:\n]{0,60}:"
)
_PREAMBLE = re.compile(rf"\s*(?:(?P<accepts>{_ACCEPTS})\s*)?(?P<announces>{_ANNOUNCES})?", re.IGNORECASE)
_LOUD = re.compile(r"\s*(?:好的|当然可以|当然|没有?问题|sure|certainly|of course|absolutely)\s*[！!]", re.IGNORECASE)
_TOPIC = re.compile(r"关于|about|regarding|on the topic", re.IGNORECASE)
_MESSAGE_BITS = 32
_FIRST = frozenset("好当没可明收这以下如sSoOcCaAgGnNhHbBtT \n\t")


class TurnCheck(QualityCheck):
    """Judges the first question of each example, and the order of its answers."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "question_preamble": Kind(
            "warning",
            "the question begins with the words of the model that wrote it: {value} (then: {detail})",
            "问题开头留着生成它的模型的应答语：{value}（后面是：{detail}）",
            "Remove them: real users do not write this way, and the model should not expect it.",
            "请删去：真正的用户不会这样提问。",
            "{place}: the question begins with a preamble",
        ),
        "user_message_missing": Kind(
            "warning",
            "no user message: the assistant answers a question that nobody asked",
            "没有 user 消息：没有人提问，assistant 却在回答",
            "Add the question, unless the model should speak first.",
            "请补上问题；除非就是要模型在没有提问时先开口。",
            "{place}: no user message",
        ),
        "assistant_repeated": Kind(
            "warning",
            "a second assistant message in a row: when served, the model stops after the first",
            "连续两条 assistant 消息：实际使用时，模型说完第一条就会停下",
            "Join them: one message can contain both text and calls.",
            "请合并：一条消息可以同时有文字和调用。",
            "{place}: a second assistant message in a row",
        ),
    }

    def check(self, batch: Batch) -> Iterator[Finding]:
        if "no user" in batch.forms.kinds:
            for example, kind in enumerate(batch.forms.kinds):
                if kind == "no user":
                    yield batch.finding("user_message_missing", example)
        for example, text in enumerate(batch.user_texts):
            if text[:1] in _FIRST and (end := _preamble_end(text)):
                rest = text[end:].strip()
                yield batch.finding("question_preamble", example, value=text[:end].strip(), detail=printable(rest, 30))
        yield from _repeated_answers(batch)


def _repeated_answers(batch: Batch) -> Iterator[Finding]:
    """Findings on answers or calls right after a trained answer of the same example."""
    answers = places = _places(batch.answers.examples, batch.answers.messages)
    if batch.calls:
        calls = _places([call.example for call in batch.calls], [call.message for call in batch.calls])
        places = np.array(sorted({*answers.tolist(), *calls.tolist()}))
    seconds = places[1:][np.diff(places) == 1].tolist()
    trained = set(answers.tolist()) if seconds else ()
    for place in seconds:
        if place - 1 in trained:
            yield batch.finding("assistant_repeated", place >> _MESSAGE_BITS, place % (1 << _MESSAGE_BITS) - 1)


def _places(examples: Sequence[int], messages: Sequence[int]) -> npt.NDArray[np.int64]:
    """One number per message, ascending; consecutive messages of an example have consecutive numbers."""
    return (np.array(examples, np.int64) << _MESSAGE_BITS) + np.array(messages, np.int64) + 1


def _preamble_end(text: str) -> int:
    """The offset after the words before the question; 0 if there are none, or if nothing follows."""
    match = _PREAMBLE.match(text)
    if not match or not text[match.end() :].strip():
        return 0
    if match["announces"] and (match["accepts"] or _TOPIC.search(match["announces"])):
        return match.end()
    loud = _LOUD.match(text)  # "好的！如何……" accepts a task; "好的，那……" goes on talking
    return loud.end() if loud and text[loud.end() :].strip() else 0
