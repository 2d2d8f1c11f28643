"""Languages by their scripts: answers in another language than the question, stray letters, garbled text.

Only scripts are told apart (Han, Latin, and the others as one class each), which needs no model and is never in
doubt; English and French look alike here. A file in which this is the rule (translations, say) gets no finding.
"""

import re
from collections.abc import Iterator
from itertools import compress
from operator import ne

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.columns import Batch, in_texts
from luthier.data.check.quality.keywords import ALARM, GARBLED
from luthier.data.findings import Finding

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

_LEADS, _LEADS_KANA, _KANA = 1, 2, 3
_FIRST = {char.encode()[0] for _, low, high in _SCRIPTS for char in map(chr, range(low, high + 1))} - {0xE3}
_KINDS = bytes(
    _LEADS if byte in _FIRST else _LEADS_KANA if byte == 0xE3 else _KANA if 0x81 <= byte <= 0x83 else 0
    for byte in range(256)
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
        if not answers.texts or batch.joined.text.isascii():
            return
        yield from self._odd_characters(batch)
        differ = map(ne, map(str.isascii, answers.texts), map(str.isascii, batch.questions))
        for place in compress(range(len(answers.texts)), differ):
            text, question = answers.texts[place], batch.questions[place]
            if answers_in_another_language(text, question):
                self._count += 1
                if len(self._other) < _KEPT:
                    example, message = answers.examples[place], answers.messages[place]
                    self._other.append(batch.finding("answer_language", example, message, seen=text))

    def _odd_characters(self, batch: Batch) -> Iterator[Finding]:
        """One look at all characters at once; few texts have one that belongs to a third script, or to garbage."""
        joined = batch.joined
        garbled = ALARM.places(joined, GARBLED)
        odd = garbled | joined.raw_holders(_foreign(joined.raw))
        for place, example, message, text in in_texts(batch.answers, batch.answers_among(odd)):
            if found := _GARBLED.search(text):
                seen = text[max(0, found.start() - 10) : found.end() + 10]
                yield batch.finding("garbled_text", example, message, seen=seen)
            if stray := _stray(text, batch.questions[place]):
                script = next(name for name, low, high in _SCRIPTS if low <= ord(stray[0]) <= high)
                yield batch.finding("foreign_script", example, message, seen=stray, detail=script)

    def finish(self) -> Iterator[Finding]:
        if self._count <= _RARE * self._answers:
            yield from self._other


def _foreign(raw: bytes) -> npt.NDArray[np.intp]:
    """Where, in UTF-8, letters of a third script may stand: each script has first bytes of its own, kana two."""
    kinds = np.frombuffer(raw.translate(_KINDS), dtype=np.uint8)
    letters = kinds == _LEADS
    letters[:-1] |= (kinds[:-1] == _LEADS_KANA) & (kinds[1:] == _KANA)
    return np.flatnonzero(letters)


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
