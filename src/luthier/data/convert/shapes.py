"""Objects of other makers' shapes → examples with messages: Alpaca, ShareGPT, questions with answers.

Which shape a file has is decided once, by the keys of its first objects; an object of that file that does not fit is
left as it is. Knows nothing of files.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from luthier.data.examples.example import kind_of
from luthier.data.findings import FindingError, problem

QUESTIONS = (
    "question",
    "q",
    "query",
    "prompt",
    "input",
    "user",
    "human",
    "instruction",
    "问题",
    "提问",
    "问",
    "用户问题",
)
ANSWERS = (
    "answer",
    "a",
    "response",
    "completion",
    "output",
    "reply",
    "assistant",
    "答案",
    "回答",
    "答",
    "回复",
    "标准答案",
)
_SYSTEMS = ("system", "system_prompt", "系统", "系统提示")
_SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "function_call": "call", "observation": "result",
    "tool": "result",
}  # fmt: skip

Example = dict[str, Any]


class Columns(NamedTuple):
    """The keys that hold question and answer, where a person has named them."""

    question: str | None = None
    answer: str | None = None


class Shape(NamedTuple):
    """`convert` makes an example of an object, or None of one that does not fit."""

    name: str
    convert: Callable[[Example], Example | None]


def recognise_shape(items: Sequence[Any], columns: Columns, *, is_table: bool = False) -> Shape | None:
    """None if the objects are examples already, or nothing that is known.

    Raises `FindingError` if two keys could be the question or the answer, or if a table has none.
    """
    objects = [item for item in items if isinstance(item, dict)]
    if columns.question or columns.answer:
        return _named(objects, columns)
    others = [item for item in objects if kind_of(item) is None]
    if not others and not (is_table and objects):
        return None
    keys = list(dict.fromkeys(key for item in (others or objects) for key in item))
    if "instruction" in keys and "output" in keys:
        return Shape("Alpaca (instruction, input, output)", _from_alpaca)
    if "conversations" in keys or "conversation" in keys:
        return Shape("ShareGPT (conversations)", _from_sharegpt)
    questions = [key for key in keys if key.strip().lower() in QUESTIONS]
    answers = [key for key in keys if key.strip().lower() in ANSWERS]
    if len(questions) == 1 and len(answers) == 1:
        return _pairs(questions[0], answers[0])
    if is_table or (questions and answers):
        raise FindingError(problem("columns_ambiguous", seen=", ".join(keys)))
    return None


def _named(objects: list[Example], columns: Columns) -> Shape:
    keys = list(dict.fromkeys(key for item in objects for key in item))
    if columns.question in keys and columns.answer in keys:
        return _pairs(str(columns.question), str(columns.answer))
    raise FindingError(problem("columns_ambiguous", seen=", ".join(keys)))


def _pairs(question: str, answer: str) -> Shape:
    def convert(item: Example) -> Example | None:
        if not isinstance(item.get(question), str) or not isinstance(item.get(answer), str):
            return None
        return _chat(_system(item), [(item[question], item[answer])])

    return Shape(f"questions and answers ({question}, {answer})", convert)


def _from_alpaca(item: Example) -> Example | None:
    instruction, given, output = item.get("instruction"), item.get("input") or "", item.get("output")
    history = item.get("history") or []
    if not isinstance(instruction, str) or not isinstance(output, str) or not isinstance(given, str):
        return None
    if not isinstance(history, list):
        return None
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        return None
    return _chat(_system(item), [*history, ("\n".join(part for part in (instruction, given) if part), output)])


def _system(item: Example) -> str:
    found = [item[key] for key in item if key.strip().lower() in _SYSTEMS and isinstance(item[key], str)]
    return found[0] if found else ""


def _chat(system: str, turns: Sequence[Sequence[str]]) -> Example:
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def _from_sharegpt(item: Example) -> Example | None:
    turns = item.get("conversations", item.get("conversation"))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    system = _system(item)
    messages: list[Example] = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        message = _message(turn, messages)
        if message is None:
            return None
        messages.append(message)
    tools = _tools(item.get("tools"))
    return None if tools is None else {"messages": messages} | ({"tools": tools} if tools else {})


def _message(turn: Example, before: list[Example]) -> Example | None:
    text = turn.get("value", turn.get("content"))
    speaker = _SPEAKERS.get(str(turn.get("from", turn.get("role"))))
    if speaker is None or not isinstance(text, str):
        return None
    if speaker == "call":
        return _call(text, len(before))
    if speaker == "result":
        calls = before[-1].get("tool_calls", []) if before else []
        return {"role": "tool", "tool_call_id": calls[0]["id"], "content": text} if len(calls) == 1 else None
    return {"role": speaker, "content": text}


def _call(text: str, number: int) -> Example | None:
    """A call written as JSON, {"name": …, "arguments": …}, or several in a list."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    calls = []
    for index, call in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return None
        arguments = call.get("arguments", {})
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        function = {"name": call["name"], "arguments": written}
        calls.append({"id": f"call_{number}_{index}", "type": "function", "function": function})
    return {"role": "assistant", "tool_calls": calls}


def _tools(value: Any) -> list[Example] | None:
    """Definitions, as a list or as JSON of one; [] without any, None for what is no list of definitions."""
    if not value:
        return []
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    if found == []:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return None
    return [one if "function" in one else {"type": "function", "function": one} for one in found]
