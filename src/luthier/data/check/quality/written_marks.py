"""Marks in answers that no reader should see: a chat template's call markers, unfinished reasoning, invisible
characters.
"""

import re
from collections.abc import Iterator

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.keywords import CALLS, INVISIBLE, REASONING, keywords
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding
from luthier.data.findings.kinds import Kind

_CALL = re.compile(r"<(?:tool_call|function_call)>\s*[{<]|<function=\w+>|\[TOOL_CALLS\]|<\|(?:tool_call|python_tag)")
_REASONING = re.compile(r"</?think>")
# A zero-width space separates the words of scripts without spaces, such as Thai, Lao, Burmese and Khmer.
_INVISIBLE = re.compile(r"[\u202d\u202e\u2060\ufeff]|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b")


class WrittenMarksCheck(QualityCheck):
    """Searches the answers that are trained."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "call_as_text": Kind(
            "warning",
            "a call is written as text: {value}",
            "函数调用写成了文本：{value}",
            "Write calls into “tool_calls” and definitions into “tools”; otherwise clients get the markers as text "
            "instead of a call.",
            "调用请写进 “tool_calls”，定义写进 “tools”；写成文本时，客户端只会看到标记，得不到调用。",
            "{place}: a call is written as text",
        ),
        "reasoning_open": Kind(
            "warning",
            "“<think>” or “</think>” is missing around the reasoning: {value}",
            "思考过程缺少 “<think>” 或 “</think>” 标记：{value}",
            "Write both markers, or write the reasoning into “reasoning_content”; remove an answer that was cut off "
            "during its reasoning.",
            "请写全两个标记，或把思考过程写进 “reasoning_content”；在思考中被截断的回答请删去。",
            "{place}: a marker of the reasoning is missing",
        ),
        "invisible_character": Kind(
            "warning",
            "an invisible character in the answer: {value}",
            "回答里有看不见的字符：{value}",
            "Remove it; such characters come from web pages and editors, and the model would learn to write them.",
            "请删去；这类字符来自网页或编辑器，模型会学着写出来。",
            "{place}: an invisible character in the answer",
        ),
    }

    def check(self, batch: Batch) -> Iterator[Finding]:
        if not batch.answers.texts:
            return
        yield from _calls(batch)
        yield from _open_reasoning(batch)
        yield from _invisible_characters(batch)


def _calls(batch: Batch) -> Iterator[Finding]:
    answers = batch.answers
    for row in answers.rows(answers.among(keywords().texts_with(batch.joined, CALLS))):
        if (match := _CALL.search(row.text)) and "```" not in row.text:  # a code block may explain the call form
            yield batch.finding("call_as_text", row.example, row.message, value=row.text[match.start() :])


def _invisible_characters(batch: Batch) -> Iterator[Finding]:
    answers = batch.answers
    for row in answers.rows(answers.among(keywords().texts_with(batch.joined, INVISIBLE))):
        if match := _INVISIBLE.search(row.text):
            value = f"U+{ord(match.group()):04X}"
            yield batch.finding("invisible_character", row.example, row.message, value=value)


def _open_reasoning(batch: Batch) -> Iterator[Finding]:
    """Findings on answers whose reasoning begins and does not end, or ends without a beginning."""
    answers = batch.answers
    for row in answers.rows(answers.among(keywords().texts_with(batch.joined, REASONING))):
        marks, text = _REASONING.findall(row.text), row.text.strip()
        begins = text.startswith("<think>")
        if (begins and "</think>" not in marks) or (not begins and marks == ["</think>"] and "`</think>" not in text):
            yield batch.finding("reasoning_open", row.example, row.message, value=text)
