"""Text that many examples of a file share, such as an instruction before each text: it says nothing about similarity.

It is learned once, from the first examples, and then removed from every text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

MIN_EXAMPLES = 20  # with fewer, shared text cannot be told from similar content
_MIN_SHARE = 0.3  # of the examples
_MIN_LENGTH = 4  # characters of a sentence that is removed
_MAX_SENTENCES = 50
_SENTENCE = re.compile(r"[^\n.!?:。！？：；;]+[\n.!?:。！？：；;\s]*")


class SharedText:
    """The sentences that many of the texts contain, and the prefix and suffix that all of them have."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._sentences: list[str] = []
        self._prefix = self._suffix = ""
        texts = list(dict.fromkeys(texts))
        if len(texts) < MIN_EXAMPLES:
            return
        counts = Counter(sentence for text in texts for sentence in set(_SENTENCE.findall(text)))
        shared = [
            sentence
            for sentence, count in counts.most_common(_MAX_SENTENCES)
            if count >= len(texts) * _MIN_SHARE and len(sentence.strip()) >= _MIN_LENGTH
        ]
        self._sentences = sorted(shared, key=len, reverse=True)
        rest = [self._without_sentences(text) for text in texts]
        self._prefix = _whole_words(_common_prefix(rest))
        self._suffix = _whole_words(_common_prefix([text[len(self._prefix) :][::-1] for text in rest]))[::-1]

    def remove_from(self, texts: list[str]) -> list[str]:
        """The texts without the shared text; a text that consists of nothing else stays as it is."""
        if not (self._sentences or self._prefix or self._suffix):
            return texts
        return [self._remainder(text) or text for text in texts]

    def _remainder(self, text: str) -> str:
        return self._without_sentences(text).removeprefix(self._prefix).removesuffix(self._suffix).strip()

    def _without_sentences(self, text: str) -> str:
        for sentence in self._sentences:
            if sentence in text:
                text = text.replace(sentence, "")
        return text


def _whole_words(text: str) -> str:
    """`text` without the Latin word that is cut at its end, if there is one."""
    return re.sub(r"[A-Za-z0-9]+$", "", text)


def _common_prefix(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    return "".join(pair[0] for pair in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
