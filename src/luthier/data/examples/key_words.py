"""What a key means by the words in its name, where the whole name is unknown: chat_history, isUseful, 错误答案.

Such names are ambiguous, so the value is judged as well: a `context_length` of 3 is not a context.
"""

import re
from typing import Any, Literal

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEGATIONS = _set("no not non dont never without disable disabled")

# The loss of a turn. "mask" is ambiguous: in some formats 1 means trained, in others not trained.
_TRAINED = _set("loss train trained trainable training learn learned learnable supervise supervised backprop")
_SKIPPED = _set("ignore ignored skip skipped exclude excluded freeze frozen")
_MASKED = _set("mask masked masking")
_LOSS_FILLERS = _set(
    "is be do should to on in for from of with has use compute calc calculate include this turn message msg flag"
)
_TRAINED_CHINESE = re.compile(r"(?:是否)?(?:参与|用于|计算|计入|加入)?(?:训练|损失|学习)")
_SKIPPED_CHINESE = re.compile(r"(?:是否)?(?:不|跳过|忽略|排除)(?:参与|用于|计算|计入)?(?:训练|损失|学习)?")

# Whether an example is a good one.
_GOOD = _set(
    """valid keep useful usable helpful good ok okay acceptable accept accepted approve approved correct desirable
    preferred pass passed include included 有用 有效 有帮助 可用 合格 正确 通过 采纳 采用 保留"""
)
_BAD = _set(
    """invalid wrong bad incorrect reject rejected useless unusable unhelpful deleted discard discarded drop dropped
    remove removed spam hallucinated dispreferred dislike disliked 无效 错误 不合格 废弃 作废 删除 丢弃"""
)
_LIKED = _set("like liked thumb thumbs 点赞")
_STATES = _set(
    """status state verdict decision review approval judgement judgment assessment
    状态 审核 审核状态 审核结果 质检 质检结果"""
)
_ROWS = _set("row example sample item record line")
_VERDICT_FILLERS = _ROWS | _set("is was be has to should the flag answer response reply output turn message human user")
_BAD_STATES = _BAD | _set("failed fail declined denied dismissed refused 驳回 拒绝 未通过 不通过 down thumbs_down 👎")

# Texts beside the question and the answer.
_WORSE = _set("rejected reject wrong incorrect bad worse worst negative losing inferior dispreferred disliked")
_ANSWERS = _set(
    """answer answers response responses output outputs completion completions reply replies message messages
    solution solutions candidate candidates"""
)
_WORSE_CHINESE = re.compile(r"(?:错误|差|坏|劣|负|不好|被拒绝)的?(?:答案|回答|回复|输出)")
_CONTEXTS = _set(
    """history context contexts document documents doc docs passage passages article articles background knowledge
    evidence paragraph paragraphs"""
)
_TEXT_NOUNS = _set("text texts content contents body message messages turn turns chunk chunks snippet snippets list")
_OTHER_HISTORIES = _set("version edit revision change commit git update status file")
_CONTEXT_CHINESE = re.compile(r".*(?:文档|上下文|历史|历史记录|聊天记录|背景|知识|资料|材料|文章|段落|原文)")

LossFlag = Literal["trained", "skipped", "unclear"]


def words_of(key: str) -> list[str]:
    """The words of a name, which underscores, hyphens, spaces, digits or capital letters separate, in lower case."""
    return [word.lower() for word in _WORD.findall(key)]


def loss_flag(words: list[str]) -> LossFlag | None:
    """What a flag of this name says when it is true; None for a name that says nothing about the loss."""
    if len(words) == 1 and _TRAINED_CHINESE.fullmatch(words[0]):
        return "trained"
    if len(words) == 1 and _SKIPPED_CHINESE.fullmatch(words[0]):
        return "skipped"
    core = set(words) - _LOSS_FILLERS - _NEGATIONS
    if not core or not core <= _TRAINED | _SKIPPED | _MASKED:
        return None
    if core & _MASKED:
        return "unclear"
    is_skipped = bool(core & _SKIPPED) != bool(_NEGATIONS.intersection(words))
    return "skipped" if is_skipped else "trained"


def verdict(words: list[str], value: Any, truth: bool | None) -> bool | None:
    """Whether a flag or a state calls the example a good one; None if it is neither.

    `truth`: the truth value of `value`, None if it has none.
    """
    words = [word.removeprefix("是否").removeprefix("已") for word in words]
    core = set(words) - _VERDICT_FILLERS - _NEGATIONS
    text = value.strip().lower() if isinstance(value, str) else ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if core and core <= _STATES | _LIKED and text in _BAD_STATES:
        return False
    if core and core <= _LIKED and is_number:
        return None if not value else value > 0  # 0 is no vote
    if not core or words[-1] not in _GOOD | _BAD | _LIKED | _ROWS or not (core <= _GOOD | _LIKED or core <= _BAD):
        return None
    truth = False if is_number and value < 0 else truth
    is_reversed = (core <= _BAD) != bool(_NEGATIONS.intersection(words))
    return None if truth is None else truth != is_reversed


def is_worse_answer(words: list[str], value: Any) -> bool:
    """Whether it is an answer that should not be learned, beside the one that should."""
    if not words or not isinstance(value, str | list | dict):
        return False
    is_named = words[-1] in _ANSWERS and bool(_WORSE.intersection(words))
    return is_named or bool(_WORSE_CHINESE.fullmatch(words[-1]))


def is_context(words: list[str], value: Any) -> bool:
    """Whether it is a text, or several, that the answer may depend on."""
    if not words or not _is_text(value) or _OTHER_HISTORIES.intersection(words):
        return False
    if _CONTEXT_CHINESE.fullmatch(words[-1]):
        return True
    names = [word for word in words if word not in _TEXT_NOUNS and not word.isdigit()]
    return bool(names) and names[-1] in _CONTEXTS


def _is_text(value: Any) -> bool:
    """Whether a value is more than a number, a flag or an identifier."""
    if not isinstance(value, str):
        return isinstance(value, list | dict)
    text = value.strip()
    return len(text) > 40 or len(text.split()) > 1 or sum(char > "\u2e80" for char in text) >= 6
