"""A teacher's reply → a text worth keeping, or the reason why it is not.

Each reason is a word that stands in the rejects file and is counted in the report. What can be mended is mended (a
preamble taken off, a think block removed) and the text is looked at again; what was said is kept for the count.
Knows one text at a time.
"""

import re
from dataclasses import dataclass

from luthier.data.check.quality.language_script import answers_in_another_language
from luthier.data.check.quality.preamble import strip_preamble
from luthier.data.check.quality.refusal import is_refusal, named_maker
from luthier.data.check.quality.truncation import is_cut_off
from luthier.generate.journal import Reply
from luthier.language import Language

_THINKS = re.compile(r"^\s*<think(?:ing)?>.*?</think(?:ing)?>\s*", re.DOTALL | re.IGNORECASE)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LETTER = re.compile(r"[A-Za-z]")
MOST_QUESTION = 600  # characters; a question that is longer is an essay or a list of questions
_ECHOES = re.compile(
    r"\b(?:part|kind|asker)\s*:.*\b(?:kind|asker)\s*:|(?:方面|类型|提问者)[：:].*(?:类型|提问者)[：:]", re.IGNORECASE
)  # the lines of the task for questions
_LOOPING = re.compile(r"(.{6,60}?)\1{3,}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Screened:
    """`reason` is None for a text that is kept. `preamble`: the teacher wrote one, whether or not it came off."""

    text: str
    reason: str | None = None
    preamble: bool = False


def screen_answer(reply: Reply, question: str) -> Screened:
    """Reasons: truncated, content_filter, refusal, empty, identity, cut_off, loop, language, thinking."""
    if reply.finish_reason == "length":
        return Screened(reply.text, "truncated", _opens_with_chatter(reply.text, question))
    if reply.finish_reason not in ("stop", "eos"):
        return Screened(reply.text, reply.finish_reason)  # content_filter, tool_calls
    if reply.refusal:
        return Screened(reply.refusal, "refusal")
    text, had_preamble = _mended(reply.text, question)
    reason = _fault(text)
    if reason is None and is_cut_off(text):
        reason = "cut_off"
    if reason is None and answers_in_another_language(text, question):
        reason = "language"
    return Screened(text, reason, had_preamble)


def screen_question(text: str, language: Language) -> Screened:
    """Reasons: echo (the teacher repeats its task), empty, refusal, identity, too_long, language, loop, thinking."""
    text, had_preamble = _mended(text, None)
    if _ECHOES.search(text):
        return Screened(text, "echo", had_preamble)
    reason = _fault(text) or (None if _is_in(text, language) else "language")
    if reason is None and len(text) > MOST_QUESTION:
        reason = "too_long"
    return Screened(text, reason, had_preamble)


def _mended(text: str, question: str | None) -> tuple[str, bool]:
    text = _THINKS.sub("", text, count=1).strip()
    stripped = strip_preamble(text, question)
    return (text, False) if stripped is None else (stripped.strip(), True)


def _opens_with_chatter(text: str, question: str) -> bool:
    return strip_preamble(_THINKS.sub("", text, count=1).strip(), question) is not None


def _fault(text: str) -> str | None:
    if not text:
        return "empty"
    if "<think" in text[:200].lower() or "</think" in text.lower():
        return "thinking"
    if is_refusal(text):
        return "refusal"
    if named_maker(text):
        return "identity"
    return "loop" if _LOOPING.search(text) else None


def _is_in(text: str, language: Language) -> bool:
    """Names and formulas of the other script are fine; a text that is mostly in the other language is not."""
    chinese, latin = len(_CHINESE.findall(text)), len(_LETTER.findall(text))
    if language == "zh":
        return chinese > 0 and chinese * 4 >= latin
    return chinese * 2 <= latin or not (chinese or latin)
