"""Languages by their scripts: answers in another language than the question, stray letters, garbled text.

Only scripts are told apart (Han, Latin, and the others as one class each), which needs no model and is never in
doubt; English and French look alike here. A file in which this is the rule (translations, say) gets no finding.
"""

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from luthier.data.findings import Finding
from luthier.data.quality.batch import Batch, Joined, in_texts

_KEPT = 200  # findings wait for the end of the file, where one knows whether they are the rule
_RARE = 0.2  # above this share of the answers it is the rule

_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]+")
_CODE = re.compile(r"```|https?://|</|[{}<>|=_\\]{2}")
_LANGUAGE_WORDS = re.compile(
    r"翻译|译成|译文|英文|英语|中文|汉语|外语|单词|语种|translat|english|chinese|mandarin|language", re.IGNORECASE
)
_FOREIGN = re.compile(r"[\u0400-\u04ff\u0590-\u06ff\u0900-\u0dff\u0e00-\u0e7f\uac00-\ud7af\u3041-\u30fa]+")
_SCRIPTS = (
    ("Cyrillic", 0x400, 0x4FF),
    ("Hebrew or Arabic", 0x590, 0x6FF),
    ("Indic", 0x900, 0xDFF),
    ("Thai", 0xE00, 0xE7F),
    ("Kana", 0x3040, 0x30FA),
    ("Hangul", 0xAC00, 0xD7AF),
)
_GARBLED = re.compile(
    "\ufffd|锟斤拷|烫烫烫|屯屯屯|Ã[©¨¤¶¼±]|â€[™œ\x9d¢“”]|Â[ °·»]|ä¸[\x80-\xbf]|å[\x80-\xbf][\x80-\xbf]"
)


class Script:
    """Looks at every trained answer beside its question."""

    def __init__(self) -> None:
        self._answers = 0
        self._other: list[Finding] = []
        self._count = 0

    def look(self, batch: Batch) -> Iterator[Finding]:
        answers = batch.answers
        self._answers += len(answers.texts)
        joined = answers.joined()
        if joined.text.isascii() and all(map(str.isascii, batch.questions)):
            return
        yield from self._odd_characters(batch, joined)
        for place, (text, question) in enumerate(zip(answers.texts, batch.questions, strict=True)):
            if text.isascii() is not question.isascii() and answers_in_another_language(text, question):
                self._count += 1
                if len(self._other) < _KEPT:
                    example, message = answers.examples[place], answers.messages[place]
                    self._other.append(batch.finding("answer_language", example, message, seen=text))

    def _odd_characters(self, batch: Batch, joined: Joined) -> Iterator[Finding]:
        """One look at all characters at once; few texts have one that belongs to a third script, or to garbage."""
        odd = joined.holders(np.flatnonzero(_odd()[np.minimum(joined.codes, 0xFFFF)]))
        for place, example, message, text in in_texts(batch.answers, odd):
            if found := _GARBLED.search(text):
                seen = text[max(0, found.start() - 10) : found.end() + 10]
                yield batch.finding("garbled_text", example, message, seen=seen)
            if stray := _stray(text, batch.questions[place]):
                script = next(name for name, low, high in _SCRIPTS if low <= ord(stray[0]) <= high)
                yield batch.finding("foreign_script", example, message, seen=stray, detail=script)

    def finish(self) -> Iterator[Finding]:
        if self._count <= _RARE * self._answers:
            yield from self._other


@cache
def _odd() -> npt.NDArray[np.bool_]:
    """The characters of the basic plane with which a stray word or garbled text can begin."""
    table = np.zeros(0x10000, dtype=np.bool_)
    for _, low, high in _SCRIPTS:
        table[low : high + 1] = True
    table[[ord(char) for char in "\ufffd锟烫屯ÃâÂäå"]] = True
    return table


def answers_in_another_language(text: str, question: str) -> bool:
    """Whether a Chinese question has an answer without Chinese, or the other way round; labels and code are neither."""
    if _CODE.search(text) or _LANGUAGE_WORDS.search(question):
        return False
    han, asked_han = len(_HAN.findall(text)), len(_HAN.findall(question))
    words, asked_words = len(_LATIN.findall(text)), len(_LATIN.findall(question))
    to_english = asked_han >= 6 and asked_words <= asked_han / 4 and han == 0 and words >= 8
    to_chinese = asked_han == 0 and asked_words >= 4 and han >= 12 and words <= han / 8
    return to_english or to_chinese


def _stray(text: str, question: str) -> str | None:
    """Letters of a third script in an otherwise Chinese or English answer, if the question has none of it."""
    found = _FOREIGN.search(text)
    if not found or _FOREIGN.search(question) or _LANGUAGE_WORDS.search(question):
        return None
    letters = sum(map(len, _FOREIGN.findall(text)))
    return found.group() if letters * 5 < len(text) else None
