"""Languages by their scripts: answers in another language than the question, stray letters, garbled text.

Only scripts are distinguished (Han, Latin, and six groups of others), which needs no model and leaves no doubt; English
and French count as one. A file in which question and answer usually differ (translations) gets no such finding.
"""

import re
from collections.abc import Iterator
from itertools import compress
from operator import ne

import numpy as np

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.byte_classes import FOREIGN_LEAD, FOREIGN_SCRIPTS
from luthier.data.check.quality.joined_texts import JoinedTexts
from luthier.data.check.quality.keywords import GARBLED, keywords
from luthier.data.check.quality.misread_text import misread_text
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding

_MAX_PENDING = 200  # findings kept until the end of the file, when their share is known
_MAX_SHARE = 0.2  # of the answers; above it, different languages are the rule

_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]+")
_CODE = re.compile(r"```|https?://|</|[{}<>|=_\\]{2}")
_LANGUAGE_WORDS = re.compile(
    r"翻译|译成|译文|英文|英语|中文|汉语|外语|单词|语种|translat|english|chinese|mandarin|language", re.IGNORECASE
)
_FOREIGN = re.compile(r"[\u0400-\u04ff\u0590-\u06ff\u0900-\u0dff\u0e00-\u0e7f\uac00-\ud7af\u3041-\u30fa]+")
_KANA_LEAD, _KANA_SECONDS = 0xE3, (0x81, 0x83)  # in UTF-8; Chinese punctuation has the same first byte
_GARBLED = re.compile(
    "\ufffd|ï¿½|锟斤拷|烫烫烫|屯屯屯|Ã[©¨¤¶¼±]|â€[™œ\x9d¢“”]|Â[ °·»]|ä¸[\x80-\xbf]|å[\x80-\xbf][\x80-\xbf]"
)


class LanguageCheck(QualityCheck):
    """Compares every trained answer with its question."""

    def __init__(self) -> None:
        self._answers = 0
        self._pending: list[Finding] = []
        self._count = 0

    def check(self, batch: Batch) -> Iterator[Finding]:
        answers = batch.answers
        self._answers += len(answers.texts)
        if not answers.texts or batch.joined.text.isascii():
            return
        yield from self._odd_characters(batch)
        differ = map(ne, map(str.isascii, answers.texts), map(str.isascii, answers.questions))
        for row in answers.rows(compress(range(len(answers.texts)), differ)):
            if answers_in_another_language(row.text, answers.questions[row.number]):
                self._count += 1
                if len(self._pending) < _MAX_PENDING:
                    self._pending.append(batch.finding("answer_language", row.example, row.message, value=row.text))

    def _odd_characters(self, batch: Batch) -> Iterator[Finding]:
        """Findings on stray letters and garbled text. Few texts have either, so all texts are first scanned at once."""
        joined = batch.joined
        odd = keywords().texts_with(joined, GARBLED) | _texts_in_foreign_scripts(joined)
        for row in batch.answers.rows(batch.answers.among(odd)):
            if match := _GARBLED.search(row.text):
                excerpt = row.text[max(0, match.start() - 10) : match.end() + 10]
                yield batch.finding("garbled_text", row.example, row.message, value=excerpt)
            elif misread := misread_text(row.text):
                value = f"{misread[0]} ({misread[1]})"
                yield batch.finding("garbled_text", row.example, row.message, value=value)
            elif stray := _stray_letters(row.text, batch.answers.questions[row.number]):
                script = next(name for name, low, high in FOREIGN_SCRIPTS if low <= ord(stray[0]) <= high)
                yield batch.finding("foreign_script", row.example, row.message, value=stray, detail=script)

    def finish(self) -> Iterator[Finding]:
        if self._count <= _MAX_SHARE * self._answers:
            yield from self._pending


def _texts_in_foreign_scripts(joined: JoinedTexts) -> set[int]:
    """Indices of the texts that may have letters of a third script.

    Each of these scripts has its own lead bytes in UTF-8, except kana, which is recognised by two bytes.
    """
    indices = set[int]()
    if joined.all_classes & FOREIGN_LEAD:
        indices |= joined.at_utf8(np.flatnonzero(joined.classes & FOREIGN_LEAD))
    utf8 = np.frombuffer(joined.utf8, np.uint8)
    leads = np.flatnonzero(utf8 == _KANA_LEAD)
    seconds = utf8[leads + 1]
    return indices | joined.at_utf8(leads[(seconds >= _KANA_SECONDS[0]) & (seconds <= _KANA_SECONDS[1])])


def answers_in_another_language(text: str, question: str) -> bool:
    """Whether a Chinese question has an English answer, or the other way round; labels and code count as neither."""
    if _CODE.search(text) or _LANGUAGE_WORDS.search(question):
        return False
    han, question_han = len(_HAN.findall(text)), len(_HAN.findall(question))
    words, question_words = len(_LATIN.findall(text)), len(_LATIN.findall(question))
    to_english = question_han >= 6 and question_words <= question_han / 4 and han == 0 and words >= 8
    to_chinese = question_han == 0 and question_words >= 4 and han >= 12 and words <= han / 8
    return to_english or to_chinese


def _stray_letters(text: str, question: str) -> str | None:
    """Letters of a third script in an otherwise Chinese or English answer, unless the question has some too."""
    match = _FOREIGN.search(text)
    if not match or _FOREIGN.search(question) or _LANGUAGE_WORDS.search(question):
        return None
    letters = sum(map(len, _FOREIGN.findall(text)))
    return match.group() if letters * 5 < len(text) else None
