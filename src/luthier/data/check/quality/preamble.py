"""Preambles: words with which a chat model accepts a request before it answers (好的！ / Sure, here is … / 您好！).

A teacher model writes them by habit, and a model that is trained on them learns them first. They are stripped only
where they are empty: an interjection, closed by punctuation, before an answer that is complete without it.
"好的基金经理…", "可以。根据规定…", "是的，…" and "当然，任何投资都有风险" carry meaning and stay.
"""

import re

# Words that accept a request, also with a comma ("好的，…", "Sure, …").
_ACCEPTS = re.compile(
    r"(?:好的[呢呀吧]?|好[呀啊嘞滴哒]|(?:当然)?没有?问题|收到|明白了?|了解了?|遵命)[！!。，,：:~～\s]+"
    r"|(?:好问题|问得好|(?:您|你)(?:问|提)得很好|(?:您|你)?(?:这|提)[^，。！\n]{0,6}(?:好|棒|重要|有趣|有意义|不错)的问题)[！!。，,]\s*"
    r"|(?:很|非常|十分)?(?:高兴|乐意|荣幸)(?:能|可以)?(?:为|帮|给|回答)(?:您|你)[^，。！：\n]{0,12}[！!。：:]\s*"
    r"|感谢(?:您|你)的(?:提问|问题|咨询)[！!。，,]\s*"
    r"|(?:sure(?: thing)?|okay|ok|alright|all right|got it|understood|no problem|no worries)\s*(?:[!.,:]+(?!\w)|\n)\s*"
    r"|(?:(?:i'm |i am )?(?:happy|glad) to help(?: you)?(?: with that)?|my pleasure)\s*[!.:]+\s*"
    r"|(?:(?:that(?:'s|’s| is)|what) an? )?(?:great|good|excellent|interesting|fantastic) question\s*[!.,]+\s*"
    r"|(?:thanks|thank you) for (?:asking|(?:your|the) question)\s*[!.,]+\s*",
    re.IGNORECASE,
)
# These can also be the answer to a yes-or-no question, so they need an exclamation mark or an announcement.
_AGREES = re.compile(
    r"(?:当然可以|当然|可以的|好)(?P<loud>[！!]+)?[。，,：:~～\s]*"
    r"|(?:certainly|of course|absolutely|definitely|great|perfect)\b(?!-)(?P<loud_en>\s*!+)?[.,:\s]*",
    re.IGNORECASE,
)
_GREETS = re.compile(
    r"[您你]好[呀啊]?[！!，,。.~～]+\s*|(?:hello|hi|greetings)(?: there)?\s*[！!，,。.]+(?!\w)\s*", re.IGNORECASE
)
_ROLE = re.compile(
    r"作为(?:您的|你的)?(?:一[名个位])?[^，,。：:\n]{1,20}[，,]\s*|as an? [^,.\n]{1,60}, (?=(?:i|let) ?)", re.IGNORECASE
)
_ANNOUNCES = re.compile(
    r"(?:那么?|首先|下面|接下来|现在)?[，,]?(?:让我|由我|我们?|很高兴|很乐意|非常乐意)[^。！？!?：:，,\n]{0,16}?"
    r"(?:解释|介绍|回答|解答|说明|讲解|看看|看一下|聊聊|帮助(?:您|你)|帮(?:您|你)|为(?:您|你)服务|梳理|列出|提供)"
    r"[^。！？!?：:，,\n]{0,14}[。！!：:~～\n]+\s*"
    r"|(?:以下|下面|这里|如下)[^。！？!?：:\n]{0,40}(?:[：:]|\n)\s*"
    r"|(?:here(?:'s|’s| is| are)|below (?:is|are))[^.!?:\n]{0,90}(?::|\n)\s*"
    r"|(?:let me|let(?:'s|’s| us)|i(?:'d|’d| would|'ll|’ll| will|'m|’m| am| can)(?: certainly| gladly| be)*"
    r"(?: (?:happy|glad|delighted) to)?) (?:help|explain|answer|assist|walk|show|give|break|provide|look|take)"
    r"[^.!?:\n]{0,80}[.!:\n]+\s*",
    re.IGNORECASE,
)
# A fast filter for many texts: how matches of the patterns above may begin.
_HAN_OPENINGS = frozenset("好没当收明了遵您你问提这很非十高乐荣感作可")
_OPENINGS = (
    "sur", "ok", "alr", "all", "got", "und", "no ", "hap", "gla", "my ", "i ", "i'", "i’", "tha", "what", "gr", "goo",
    "exc", "int", "fan", "cer", "of c", "abs", "def", "per", "he", "hi", "as a",
)  # fmt: skip
_LONGEST_OPENING = max(map(len, _OPENINGS))
_FIRST_CHARACTERS = _HAN_OPENINGS | {char for char in map(chr, range(0x3001)) if char.isspace()}
_FIRST_LETTERS = frozenset(opening[0] for opening in _OPENINGS) | {opening[0].upper() for opening in _OPENINGS}
_FIRST_TWO = frozenset(
    first + second
    for opening in _OPENINGS
    for first in (opening[0], opening[0].upper())
    for second in (opening[1], opening[1].upper())
)
_CONTINUES = re.compile(
    r"[，,、。；;！!？?）)]|但|不过|可是|然而|而且|并且|(?:but|however|and|though|yet)\b", re.IGNORECASE
)
_CONCEDES = re.compile(r"[^.!?\n]*,? (?:but|however|yet|though)\b", re.IGNORECASE)
_OFFERS = re.compile(
    r"(?:请问)?(?:您|你|我)?(?:今天)?(?:需要|有|想)?(?:什么|哪些)?[^。！\n]{0,8}(?:可以|能够?|需要)(?:为|帮)(?:您|你|到)"
    r"|(?:how|what) (?:can|may|could) i |what would you like|i'm |我是",
    re.IGNORECASE,
)
_ASKS_WHETHER = re.compile(
    r"吗[？?]?\s*$|(?:能不能|可不可以|是不是|会不会|可否|是否)|^(?:can|may|is|are|do|does|will|should) ", re.I
)
_REQUESTS = re.compile(
    r"(?:告诉|介绍|解释|说明|帮我?|给我|推荐|列出|写|生成|讲|举|提供|分享|教|谈谈|回答|描述|总结)"
    r"|\b(?:can|could|would|will) you\b",
    re.IGNORECASE,
)
_GREETING = re.compile(  # with at most a few more words: a longer text that begins like this is a question
    r"(?:您好|你好|嗨|早上好|下午好|晚上好)\W*$"
    r"|(?:hello|hi|hey|good (?:morning|afternoon|evening))\b[\w ,]{0,20}\W*$",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w")


def may_start_with_preamble(texts: list[str]) -> list[int]:
    """Indices of the texts (none of them empty) that may begin with a preamble; most others are filtered out."""
    likely = [
        index
        for index, text in enumerate(texts)
        if text[0] in _FIRST_CHARACTERS or (text[0] in _FIRST_LETTERS and text[:2] in _FIRST_TWO)
    ]
    return [index for index in likely if _may_start(texts[index])]


def _may_start(text: str) -> bool:
    opening = text[:_LONGEST_OPENING] if text[0].isalpha() else text.lstrip()[:_LONGEST_OPENING]
    return opening[:1] in _HAN_OPENINGS or opening.lower().startswith(_OPENINGS)


def strip_preamble(text: str, question: str | None = None) -> str | None:
    """`text` without its preamble; None if it has none, or if the rest is not complete without it.

    `question`: the message that the text answers. After a yes-or-no question, words of agreement are the answer
    ("当然可以！" to "能提前赎回吗？") and stay; after a greeting, a greeting stays.
    """
    start = len(text) - len(text.lstrip())
    if _phrase_end(text, start, is_yes_or_no=False) is None:  # most texts end here, whatever the question
        return None
    is_yes_or_no = question is not None and bool(_ASKS_WHETHER.search(question)) and not _REQUESTS.search(question)
    if question is not None and _GREETING.match(question.strip()):
        return None
    end = _preamble_end(text, start, is_yes_or_no)
    if end is None:
        return None
    rest = text[end:].strip()
    if len(rest) < 2 or not _WORD.search(rest) or _CONTINUES.match(rest) or _OFFERS.match(rest):
        return None
    # "Sure, the yield …" continues in the middle of a sentence; any other rest keeps its first letter.
    return rest[0].upper() + rest[1:] if text[:end].rstrip().endswith(",") and rest[0].isascii() else rest


def _preamble_end(text: str, start: int, is_yes_or_no: bool) -> int | None:
    """The offset after the preamble that begins at `start`; None if there is none."""
    position = start
    while (end := _phrase_end(text, position, is_yes_or_no)) is not None:
        position = end
    if position == start:
        return None
    while match := _ANNOUNCES.match(text, position):
        if not text[match.end() :].strip():
            break
        position = match.end()
    return position


def _phrase_end(text: str, start: int, is_yes_or_no: bool) -> int | None:
    """The offset after one empty phrase that begins at `start`; None if there is none."""
    if match := _GREETS.match(text, start):
        return match.end()
    if match := _ACCEPTS.match(text, start):
        is_comma = match.group().rstrip()[-1:] == "," and match.group()[0].isascii()
        if not (is_comma and _CONCEDES.match(text, match.end())):
            return match.end() if not is_yes_or_no or _ANNOUNCES.match(text, match.end()) else None
    match = _AGREES.match(text, start)
    if match:
        is_exclamation = bool(match["loud"] or match["loud_en"])
        if _ANNOUNCES.match(text, match.end()) or (is_exclamation and not is_yes_or_no):
            return match.end()
    if (match := _ROLE.match(text, start)) and _ANNOUNCES.match(text, match.end()):
        return match.end()
    return None
