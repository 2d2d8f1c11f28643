"""Answers that stop in the middle of a sentence, because their generator reached its token limit.

In case of doubt an answer counts as complete: labels, headlines, lists, code and tables need no full stop.
"""

import json
import re
import unicodedata

_SENTENCE_ENDS = ".!?。！？…;；"
COMPLETE_ENDINGS = frozenset(_SENTENCE_ENDS + "\"'”’」』】》)）]}>*_`~|^$%℃°—-–:：/\\@#&=+")
# The marks of a list entry without text: a bullet, or a number followed by one of `_NUMBER_ENDS`.
_BULLETS, _NUMBER_ENDS = "-*+•", ".)、）"
_ITEM_ENDINGS = frozenset(digit + end for digit in "0123456789" for end in _NUMBER_ENDS)
_CLOSED_ENDINGS = COMPLETE_ENDINGS.difference(_BULLETS)
_EMOJI_ENDINGS = "\ufe0f\u20e3"  # the variation selector of emoji, and the combining keycap
_OPEN_ENDING = re.compile(
    r"(?:[，,、（(《“「『【]|(?:以及|或者|而且|并且|因为|所以|但是|但|例如|比如|包括|如|的|和|与|或|在|及)"
    r"|\b(?:and|or|but|the|an?|of|to|with|for|in|on|by|from|is|are|was|that|which|because|such as|including))$",
)
_LIST_ITEM = re.compile(r"\s*(?:[-*+•·]|\(?\d{1,3}[.)、．:：]|[（(]?[一二三四五六七八九十]+[、)）.]|[a-zA-Z][.)])\s*\S")
_EMPTY_ITEM = re.compile(r"\n[ \t]*(?:[-*+•]|\d{1,3}[.)、）])$")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORDS = re.compile(r"[A-Za-z]+")
_SENTENCE_END = re.compile(r"[.!?。！？](?:\s|$|[\"”’)）\u4e00-\u9fff])")


def may_be_cut_off(texts: list[str]) -> list[int]:
    """Indices of the texts (none of them empty) that `is_cut_off` must check, code fences aside."""
    return [
        index
        for index, text in enumerate(texts)
        if text[-1] not in _CLOSED_ENDINGS or (text[-1] in _NUMBER_ENDS and text[-2:] in _ITEM_ENDINGS)
    ]


def is_cut_off(text: str) -> bool:
    """Whether prose stops in the middle of a sentence. Lists, labels, complete code and JSON, and headlines do not."""
    text = text.rstrip()
    if text.count("```") % 2:
        return True
    if _EMPTY_ITEM.search(text[-12:]) and len(text) + len(_HAN.findall(text)) >= 30:  # as wide as 30 letters
        return True
    if len(text) < 30 or text[-1] in COMPLETE_ENDINGS or text[-3:] == "```" or _is_emoji(text[-1]):
        return False
    if text[0] in "{[":
        return not _is_json(text)
    last = text[text.rfind("\n") + 1 :]
    if not _is_long(last) and not _LIST_ITEM.match(last):
        return False
    if _OPEN_ENDING.search(text) and _SENTENCE_END.search(text):
        return True
    return _is_long(last) and _neighbours_end_with_punctuation(text, last)


def _is_emoji(character: str) -> bool:
    """Whether it is a symbol such as an emoji, or the end of an emoji, with which a message may well end."""
    return unicodedata.category(character) in ("So", "Sk") or character in _EMOJI_ENDINGS


def _is_long(line: str) -> bool:
    """Whether a line is longer than a label or a signature."""
    return len(_HAN.findall(line)) + 2 * len(_WORDS.findall(line)) >= 14


def _neighbours_end_with_punctuation(text: str, last: str) -> bool:
    """Whether lines like the last one end with a full stop: its neighbours in a list, or the sentences before it."""
    lines = [line.rstrip() for line in text[: len(text) - len(last)].split("\n") if line.strip()]
    if _LIST_ITEM.match(last):
        entries = [line for line in lines if _LIST_ITEM.match(line)]
        return len(entries) >= 2 and all(line[-1] in _SENTENCE_ENDS for line in entries)
    if "```" in text or "|" in last or "://" in last or "\t" in last:
        return False
    within = _SENTENCE_END.search(last[:-1])
    prose = [line for line in lines if _is_long(line) and not _LIST_ITEM.match(line)]
    return bool(within) or (bool(prose) and all(line[-1] in _SENTENCE_ENDS + ":：" for line in prose))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
