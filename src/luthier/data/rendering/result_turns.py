"""Result turns: adds a tool's result and an answer in words after the calls of a file that has no such turns.

A file in which every conversation ends with a call teaches that a call follows everything, its own result included, so
an agent loop would never end. A share of such examples is continued with a result, made up from the arguments of the
call, and a sentence that restates it in the language of the example. Only the sentence is trained.
"""

import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from luthier.data.examples.example import Example, calls_in, language_of, name_of
from luthier.language import Language

_RESULT_ROLES = ("tool", "function")
_QUERY_VERBS = {"get", "fetch", "read", "retrieve", "find", "search", "look", "lookup", "list", "show", "view"} | {
    "query", "check", "count", "calculate", "compute", "estimate"
}  # fmt: skip
_FAILURE_RATE = 1 / 3  # of the results; a model that has seen few failures reports success whatever the result says
_MAX_VALUES, _MAX_VALUE_CHARACTERS = 4, 60  # limits of the values that a sentence restates


def lines_to_continue(examples: Iterable[Example], share: float, seed: int) -> frozenset[int]:
    """The lines of a random share of the examples that end with a call; none if the file has answers after results."""
    lines = []
    for example in examples:
        if _answers_a_result(example):
            return frozenset()
        if _ends_with_call(example):
            lines.append(example.line)
    count = min(len(lines), max(1, round(share * len(lines)))) if share else 0
    return frozenset(random.Random(seed).sample(lines, count))  # noqa: S311 - repeatable, no secret


def with_result(example: Example, seed: int) -> Example:
    """Appends to an example that ends with calls a result for each call, and an answer."""
    language = language_of(example)
    rng = random.Random(f"{seed} {example.line}")  # noqa: S311 - repeatable, no secret
    message = example.messages[-1]
    outcomes = [_outcome(function, language, rng) for _, function in calls_in(message)]
    results = [outcome.result for outcome in outcomes]
    if message.get("function_call"):
        turns = [{"role": "function", "name": message["function_call"]["name"], "content": results[0]}]
    else:
        calls = zip(message["tool_calls"], results, strict=True)
        turns = [{"role": "tool", "tool_call_id": call.get("id"), "content": result} for call, result in calls]
    answer = {"role": "assistant", "content": _joined([outcome.sentence for outcome in outcomes], language)}
    return replace(example, messages=[*example.messages, *turns, answer])


def _answers_a_result(example: Example) -> bool:
    roles = [message["role"] for message in example.messages]
    first = next((index for index, role in enumerate(roles) if role in _RESULT_ROLES), len(roles))
    return "assistant" in roles[first:]


def _ends_with_call(example: Example) -> bool:
    message = example.messages[-1]
    return message["role"] == "assistant" and message.get("weight") != 0 and any(True for _ in calls_in(message))


@dataclass(frozen=True)
class _Outcome:
    """`result`: the content of the tool's message. `sentence`: the same outcome in words, for the user."""

    result: str
    sentence: str


def _outcome(function: dict[str, Any], language: Language, rng: random.Random) -> _Outcome:
    arguments = _arguments(function)
    if rng.random() < _FAILURE_RATE:
        return _failure(language, rng)
    verb, *nouns = _words(name_of(function) or "")
    if verb in _QUERY_VERBS:
        return _query(" ".join(nouns), arguments, language, rng)
    return _action(arguments, language, rng)


def _failure(language: Language, rng: random.Random) -> _Outcome:
    reason = rng.choice(_REASONS[language])
    sentence = {"en": f"That did not work: {reason}.", "zh": f"没有成功：{reason}。"}[language]
    forms = (_json({"error": reason}), f"error: {reason}", _json({"success": False, "message": reason}))
    return _Outcome(rng.choice(forms), sentence)


def _query(noun: str, arguments: dict[str, Any], language: Language, rng: random.Random) -> _Outcome:
    value: int | float = rng.choice((rng.randint(0, 99), rng.randint(100, 9999), round(rng.uniform(1, 500), 1)))
    key = noun.replace(" ", "_") or "result"
    result = rng.choice((_json({key: value}), _json({**arguments, key: value}), str(value)))
    label = noun or "result"
    sentence = {"en": f"The {label} is {value}.", "zh": f"查询结果：{value}。"}[language]
    return _Outcome(result, sentence)


def _action(arguments: dict[str, Any], language: Language, rng: random.Random) -> _Outcome:
    values = _restated(arguments, language)
    word = rng.choice(_SUCCESS[language])
    forms = [word, _json({"status": "ok"}), _json({"success": True}), _json({"status": "ok", **arguments})]
    if values:
        forms.append({"en": f"{word}: {values}", "zh": f"{word}：{values}"}[language])
        sentence = {"en": f"Done: {values}.", "zh": f"已完成：{values}。"}[language]
    else:
        sentence = {"en": "Done.", "zh": "已完成。"}[language]
    return _Outcome(rng.choice(forms), sentence)


def _restated(arguments: dict[str, Any], language: Language) -> str:
    """The short values of a call in words: `kitchen, brightness 40`."""
    phrases = [phrase for key, value in arguments.items() if (phrase := _phrase(key, value, language))]
    return {"en": ", ", "zh": "，"}[language].join(phrases[:_MAX_VALUES])


def _phrase(key: str, value: Any, language: Language) -> str:
    """A value in words: a text as it is, in English other values with their key. Empty for long or nested values."""
    label = " ".join(_words(key))
    if isinstance(value, bool):
        return {"en": label if value else f"not {label}", "zh": ""}[language]
    if isinstance(value, int | float):
        return {"en": f"{label} {value}", "zh": str(value)}[language]
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        value = {"en": " and ", "zh": "、"}[language].join(value)
    is_short = isinstance(value, str) and len(value) <= _MAX_VALUE_CHARACTERS
    return " ".join(value.split()) if is_short else ""


def _joined(sentences: list[str], language: Language) -> str:
    return {"en": " ", "zh": ""}[language].join(dict.fromkeys(sentences))


def _arguments(function: dict[str, Any]) -> dict[str, Any]:
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except (TypeError, ValueError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _words(name: str) -> list[str]:
    """The words of a name: `get`, `stock`, `price` for `getStockPrice`, `get_stock_price` and `get-stock-price`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"[\W_]+", " ", name)).lower().split() or [""]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


_SUCCESS: dict[Language, tuple[str, ...]] = {"en": ("done", "ok", "success"), "zh": ("完成", "成功", "ok")}
_REASONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "timeout", "not available", "not found", "no connection", "access denied", "busy, try again later",
        "the value is out of range", "no such name", "the service is down", "not allowed at this hour",
        "battery empty", "it did not respond", "internal error 500", "the request was refused", "limit reached",
    ),
    "zh": (
        "超时", "不可用", "没有找到", "无法连接", "没有权限", "系统繁忙，请稍后再试", "数值超出范围", "名称不存在",
        "服务已停止", "当前时段不允许操作", "电量不足", "没有响应", "内部错误 500", "请求被拒绝", "已达上限",
    ),
}  # fmt: skip
