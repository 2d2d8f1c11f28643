"""The meanings of keys that an example does not use, by their names: whether leaving one out changes what is learned.

For `check`, an unused key that decides the meaning of an example is an error; any other is a note.
"""

import re
from typing import Any, Literal

from luthier.data.examples.key_words import is_context, is_worse_answer, loss_flag, verdict, words_of

Meaning = Literal["loss", "reasoning", "media", "preference", "rating", "context", "system", "arguments"]

_NAMES: dict[Meaning, str] = {
    "loss": """
        loss loss_mask trainable train training trained is_trained train_on_turn is_target mask masked weight
        loss_weight train_weight ignore ignored ignore_loss no_loss no_train exclude excluded 训练""",
    "reasoning": """
        reasoning_content reasoning reasoning_details thinking thinking_blocks thought thoughts think chain_of_thought
        cot complex_cot rationale analysis scratchpad 思考 思考过程 推理 推理过程 思维链""",
    "media": """
        image images image_url image_urls image_path video videos audio audios picture pictures 图片 图像 视频 音频""",
    "preference": """
        chosen rejected chosen_response rejected_response rejected_responses preferred dispreferred rejected_messages
        rejected_output chosen_output kto_tag desirable is_good is_correct correct accepted approved thumbs_up
        is_preferred 是否正确 是否采纳""",
    "rating": """
        rating ratings score scores stars reward quality quality_score overall_score grade rank ranking feedback vote
        votes 评分 分数 打分 得分 星级 评价""",
    "context": """
        context contexts history input passage document documents background knowledge evidence article paragraph
        reference references retrieved choices 选项 上下文 材料 背景 历史 输入 参考资料 文章 段落""",
    "system": """
        system system_prompt system_message systemprompt system_instruction instructions persona 系统 系统提示
        系统提示词""",
    "arguments": """parameters args kwargs""",
}
_MEANINGS: dict[str, Meaning] = {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
_UNTRAINED = frozenset(("ignore", "ignored", "ignore_loss", "no_loss", "no_train", "exclude", "excluded"))
_REASONING = frozenset(  # unambiguous names: a "rationale", for example, may be part of the visible answer
    ("reasoning", "thinking", "think", "thought", "thoughts", "chain_of_thought", "cot", "思考", "思考过程", "思维链")
)
_EITHER = frozenset(("mask", "masked"))  # in some formats 1 means trained, in others not trained
_IDENTIFYING = frozenset(
    """
    id ids idx index uid uuid qid no number row line source sources dataset origin url link type model model_name
    generator engine created created_at updated updated_at date time timestamp author annotator user_id session_id
    conversation_id message_id name split version hash md5 sha256 num_tokens tokens usage
    序号 编号 来源 日期 时间 作者
    """.split()  # noqa: SIM905 - a list of words is easier to read
)
_DESCRIBING = frozenset(  # one word under these may be what the answer depends on, such as a language
    """
    category categories class task tag tags topic topics domain subject lang language locale title meta metadata
    difficulty level length prefix 类别 分类 标签 主题 语言 难度
    """.split()  # noqa: SIM905
)
_IDENTIFIER = re.compile(r"[!-~]{1,200}|\S{1,8}")
_TIME = re.compile(r"\d[\d\s:.,/+TZ年月日时分秒-]{0,60}")
_CODE = re.compile(r"(?=\D*\d)[!-~]{1,40}|[a-z]{2}([-_][A-Za-z]{2,4})?")  # topic_3, zh-CN
_LONG_TEXT = 60  # characters
_EMPTY_TEXTS = frozenset(("", "[]", "{}", "null", "none", "nan", "n/a", "#n/a"))
_NO = frozenset(("false", "0", "no", "0.0", "否"))
_YES = frozenset(("true", "1", "yes", "1.0", "是"))


def is_empty(value: Any) -> bool:
    """Whether a value is empty, so that nothing is lost without it."""
    if isinstance(value, str):
        return value.strip().lower() in _EMPTY_TEXTS
    return value is None or value == [] or value == {}


def meaning_of(key: str, value: Any) -> Meaning | None:
    """What a key decides about the meaning of its example; None if nothing, as with an empty value."""
    if is_empty(value):
        return None
    name, words = _name(key), words_of(key)
    meaning, truth = _MEANINGS.get(name), truth_of(value)
    if name == "label" and truth is not None:  # of TRL's unpaired preferences; other labels are classes
        meaning = "preference"
    judgement = verdict(words, value, truth)
    if judgement is None and meaning == "preference":
        judgement = truth
    if judgement is not None:  # a good answer is to be trained on
        return None if judgement else "preference"
    if meaning is None and truth is not None and loss_flag(words):
        return "loss"
    if meaning is None and is_worse_answer(words, value):
        return "preference"
    return "context" if meaning is None and is_context(words, value) else meaning


def _name(key: str) -> str:
    """A key in the spelling of `_NAMES`: lossMask and "Loss Mask" are loss_mask."""
    name = key.strip().lower()
    return name if name in _MEANINGS else "_".join(words_of(key))


def truth_of(value: Any) -> bool | None:
    """The truth value of a flag, in any spelling; None for any other value."""
    if isinstance(value, bool | int | float):
        return value == 1 if value in (0, 1) else None
    text = value.strip().lower() if isinstance(value, str) else ""
    return True if text in _YES else False if text in _NO else None


def flagged_weight(key: str, value: Any) -> int | None:
    """The weight, 0 or 1, of a message whose flag `key` says whether it is trained; None if it does not say."""
    name, truth = _name(key), truth_of(value)
    if truth is None or name in _EITHER:
        return None
    if _MEANINGS.get(name) == "loss":
        return int(truth != (name in _UNTRAINED))
    flag = loss_flag(words_of(key))
    return int(truth != (flag == "skipped")) if flag in ("trained", "skipped") else None


def weight_from_flag(message: dict[str, Any], key: str) -> int | None:
    """The weight that a message certainly gets from its flag `key`. None if the flag is unclear, contradicts the
    message's weight, or trains a message that is not an answer.
    """
    weight = flagged_weight(key, message[key])
    if message.get("role") == "assistant":
        return weight if message.get("weight", weight) == weight else None
    return None if weight else weight


def may_be_trained(message: dict[str, Any]) -> bool:
    """Whether it is an answer that neither its weight nor a flag certainly excludes from training."""
    if message.get("role") != "assistant" or message.get("weight") == 0:
        return False
    flags = [key for key, value in message.items() if key != "weight" and meaning_of(key, value) == "loss"]
    return all(weight_from_flag(message, key) != 0 for key in flags)


def is_certain_reasoning(message: dict[str, Any], key: str) -> bool:
    """Whether the key of an answer is certainly its reasoning, and it has no other."""
    is_text = isinstance(message[key], str) and bool(message[key])
    is_only = message.get("role") == "assistant" and not message.get("reasoning_content")
    return key.strip().lower() in _REASONING and is_text and is_only


def system_key_of(example: dict[str, Any]) -> str | None:
    """The key beside the messages that is certainly their system prompt; None without one, or with several."""
    messages = example.get("messages")
    roles = (
        [message.get("role") for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    )
    keys = [key for key, value in example.items() if meaning_of(key, value) == "system"]
    is_only = len(keys) == 1 and isinstance(example[keys[0]], str) and roles
    return keys[0] if is_only and "system" not in roles and "developer" not in roles else None


def describes(key: str) -> bool:
    """Whether the key, by its name, only identifies or describes the example. Its value may still be a text."""
    return key.strip().lower() in _IDENTIFYING | _DESCRIBING


def is_description(key: str, value: Any) -> bool:
    """Whether the value is empty, or the key describes the example and no text is lost with its value."""
    return is_empty(value) or (describes(key) and _is_label(key.strip().lower(), value))


def _is_label(name: str, value: Any) -> bool:
    """Whether a value is a number, a truth value, a time or a short identifier, or an object or list of such."""
    if isinstance(value, dict):
        return all(is_harmless(key, member) and meaning_of(key, member) is None for key, member in value.items())
    if isinstance(value, list):
        return all(_is_label(name, element) for element in value)
    if isinstance(value, str):
        text = value.strip()
        is_code = bool(_TIME.fullmatch(text) or _CODE.fullmatch(text))
        return is_code or is_empty(text) or (name in _IDENTIFYING and bool(_IDENTIFIER.fullmatch(text)))
    return True


def is_harmless(key: str, value: Any) -> bool:
    """Whether no text of the example is lost without the key. A number or flag may still say how it is trained on."""
    return isinstance(value, bool | int | float) or is_description(key, value)


def is_long_text(key: str, value: Any) -> bool:
    """Whether the value is a long text, whatever the key says, and not an identifier."""
    return not is_harmless(key, value) and len(str(value)) > _LONG_TEXT
