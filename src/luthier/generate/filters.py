"""Screens the teacher's texts: each is repaired, then accepted or rejected with a reason.

The repair removes a preamble, a thinking block, and a code fence around prose; preambles are counted even so. Reasons
appear in the rejects file and are counted in the report.
"""

import re
from dataclasses import dataclass

from luthier.data.check.quality.language_script import answers_in_another_language
from luthier.data.check.quality.preamble import strip_preamble
from luthier.data.check.quality.refusal import is_refusal, named_maker
from luthier.data.check.quality.truncation import is_cut_off
from luthier.generate.journal import TeacherReply
from luthier.generate.reply_text import has_thinking_mark, split_reasoning, unfenced_prose
from luthier.language import Language

_COMPLETE = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")  # finish reasons of a complete answer
WORDLESS = ("empty", "thinking")  # reasons for rejecting a reply without an answer
_CHINESE_CHARACTER = re.compile(r"[\u4e00-\u9fff]")
_LATIN_LETTER = re.compile(r"[A-Za-z]")
MAX_QUESTION_CHARACTERS = 600  # anything longer is an essay or a list of questions
_PROMPT_ECHO = re.compile(
    r"\b(?:part|kind|asker)\s*:.*\b(?:kind|asker)\s*:|(?:方面|类型|提问者)[：:].*(?:类型|提问者)[：:]", re.IGNORECASE
)  # matches the lines of the prompt that requests questions
_LOOP = re.compile(r"(.{6,60}?)\1{3,}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScreenedText:
    """A repaired text.

    Attributes:
        reason: Why the text is rejected; None if it is accepted.
        preamble: Whether the teacher wrote a preamble, which may have been removed.
    """

    text: str
    reason: str | None = None
    preamble: bool = False


def screen_answer(reply: TeacherReply, question: str) -> ScreenedText:
    """Screens an answer to `question`.

    Reasons for rejection are truncated, content_filter, refusal, empty, identity (it names another vendor's model),
    cut_off, loop, language and thinking.
    """
    if reply.finish_reason == "length":
        return ScreenedText(reply.text, "truncated", _has_preamble(reply.text, question))
    if reply.finish_reason.lower() not in _COMPLETE:
        return ScreenedText(reply.text, reply.finish_reason)  # content_filter, tool_calls
    if reply.refusal:
        return ScreenedText(reply.refusal, "refusal")
    text, had_preamble = _repaired(reply.text, question)
    reason = _defect(text)
    if reason == "empty" and reply.reasoning:
        reason = "thinking"
    if reason is None and is_cut_off(text):
        reason = "cut_off"
    if reason is None and answers_in_another_language(text, question):
        reason = "language"
    return ScreenedText(text, reason, had_preamble)


def screen_question(text: str, language: Language) -> ScreenedText:
    """Screens a question that should be in `language`.

    Reasons for rejection are echo (the teacher repeats its prompt), empty, refusal, identity, too_long, language, loop
    and thinking.
    """
    text, had_preamble = _repaired(text, None)
    if _PROMPT_ECHO.search(text):
        return ScreenedText(text, "echo", had_preamble)
    reason = _defect(text) or (None if _is_in_language(text, language) else "language")
    if reason is None and len(text) > MAX_QUESTION_CHARACTERS:
        reason = "too_long"
    return ScreenedText(text, reason, had_preamble)


def _repaired(text: str, question: str | None) -> tuple[str, bool]:
    reasoning, words = split_reasoning(text)
    if reasoning and not words:
        return text.strip(), False  # only thinking, which `_defect` rejects
    text = unfenced_prose(words)
    stripped = strip_preamble(text, question)
    return (text, False) if stripped is None else (unfenced_prose(stripped.strip()), True)


def _has_preamble(text: str, question: str) -> bool:
    return strip_preamble(split_reasoning(text)[1], question) is not None


def _defect(text: str) -> str | None:
    if not text:
        return "empty"
    if has_thinking_mark(text):
        return "thinking"
    if is_refusal(text):
        return "refusal"
    if named_maker(text):
        return "identity"
    return "loop" if _LOOP.search(text) else None


def _is_in_language(text: str, language: Language) -> bool:
    """Whether most of the text is in `language`; names and formulas in the other script are accepted."""
    chinese, latin = len(_CHINESE_CHARACTER.findall(text)), len(_LATIN_LETTER.findall(text))
    if language == "zh":
        return chinese > 0 and chinese * 4 >= latin
    return chinese * 2 <= latin or not (chinese or latin)
