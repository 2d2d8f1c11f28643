"""Shared by the converters: the accounting of an object's keys, and readers of values that may be JSON text."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from luthier.data.examples.key_meanings import is_empty, meaning_of, truth_of
from luthier.data.jsonl.exact_values import python_value

SYSTEMS = ("system", "system_prompt", "系统", "系统提示", "系统提示词", "systemprompt", "system_message")
CONTEXTS = (
    "input", "context", "passage", "document", "background", "knowledge", "evidence", "article", "paragraph",
    "输入", "上下文", "材料", "背景", "文章", "段落", "参考资料",
)  # fmt: skip
HISTORIES = ("history", "历史")
QUESTION_KEYS, ANSWER_KEYS = (  # of objects inside an example: turns, earlier turns
    ("human", "user", "input", "question", "prompt", "instruction", "query", "q", "问", "问题", "提问", "用户"),
    ("assistant", "gpt", "output", "answer", "response", "completion", "reply", "a", "答", "回答", "答案"),
)

Example = dict[str, Any]


class Converted(NamedTuple):
    """An example, and the members of the original object that it does not contain."""

    example: Example
    unused: dict[str, Any]


class SystemPrompt(NamedTuple):
    """A system prompt ("" if there is none), and the keys of the object that hold it."""

    value: str
    keys: list[str]


def account(record: Example, example: Example, used: Iterable[str]) -> Converted:
    """Accounts for the members that are not `used`: those that decide the meaning are copied to the example, where the
    check reports them as errors; the others are `unused`.
    """
    used = set(used)
    rest = {key: value for key, value in record.items() if key not in used and not _is_settled(key, value)}
    meaningful = {key: value for key, value in rest.items() if key not in example and meaning_of(key, value)}
    return Converted(example | meaningful, {key: value for key, value in rest.items() if key not in meaningful})


def _is_settled(key: str, value: Any) -> bool:
    """Whether the member is empty, or only says that the answer is a good one."""
    return is_empty(value) or (meaning_of(key, False) == "preference" and truth_of(value) is True)


def find(record: Example, names: Iterable[str]) -> str | None:
    """The first key that is one of these names, ignoring case; None without any."""
    names = tuple(names)
    return next((key for key in record if key.strip().lower() in names), None)


def system_prompt(record: Example) -> SystemPrompt:
    """The system prompt of an object, from the first key that holds one."""
    key = next((key for key in record if key.strip().lower() in SYSTEMS and is_filled_text(record[key])), None)
    return SystemPrompt("", []) if key is None else SystemPrompt(record[key], [key])


def is_filled_text(value: Any) -> bool:
    """Whether it is text, and not the mark of a missing value, such as "nan"."""
    return isinstance(value, str) and not is_empty(value)


def decoded(value: Any) -> Any:
    """The value of a text that is JSON, or the object or list that Python's `print` wrote, as pandas does for a cell
    of a table; any other value, and any other text, unchanged.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        printed = python_value(value)
        return value if printed is None else printed


def question_key(record: Example, names: Iterable[str]) -> str | None:
    """The key of the question; None without one, or if several texts could be it. An `input` beside it is a context."""
    keys = [key for key in record if key.strip().lower() in names]
    filled = [key for key in keys if not is_empty(record[key])] or keys[:1]
    candidates = [key for key in filled if key.strip().lower() != "input"] or filled
    return candidates[0] if candidates and all(record[key] == record[candidates[0]] for key in candidates) else None


def question_text(record: Example, question: str, answer: str = "") -> tuple[str, list[str]]:
    """(the question with its contexts, the keys that hold them).

    A context goes before a question, but after an instruction.
    """
    contexts = [key for key in record if key.strip().lower() in CONTEXTS and key not in (question, answer)]
    contexts = [key for key in contexts if is_filled_text(record[key])]
    after = [key for key in contexts if question.strip().lower() == "instruction" or key.strip().lower() == "input"]
    before = [key for key in contexts if key not in after]
    text = "\n\n".join([*(record[key] for key in before), record[question]])
    return "\n".join(filter(None, (text, *(record[key] for key in after)))), [question, *contexts]


def history_turns(value: Any) -> list[tuple[str, str]] | None:
    """The pairs of earlier questions and answers; None for anything but a list of pairs."""
    turns = [] if is_empty(value) else decoded(value)
    if not isinstance(turns, list):
        return None
    pairs = []
    for turn in turns:
        pair = _named_pair(turn) if isinstance(turn, dict) else turn
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            return None
        pairs.append((pair[0], pair[1]))
    return pairs


def _named_pair(turn: Example) -> list[Any] | None:
    """The question and the answer of an object that holds nothing else; None for any other."""
    filled = {key: value for key, value in turn.items() if not is_empty(value)}
    question, answer = find(filled, QUESTION_KEYS), find(filled, ANSWER_KEYS)
    return [turn[question], turn[answer]] if question and answer and len(filled) == 2 else None
