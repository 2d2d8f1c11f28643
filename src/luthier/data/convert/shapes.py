"""Objects of other dataset formats → examples with messages: Alpaca, ShareGPT, questions with answers.

The shape of a file is recognised once, by the keys of its first objects; an object of another shape stays as it is.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from luthier.data.examples.example import kind_of
from luthier.data.findings import FindingError, make_finding

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
_SYSTEM_KEYS = ("system", "system_prompt", "系统", "系统提示")
_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "function_call": "call", "observation": "result",
    "tool": "result",
}  # fmt: skip

Example = dict[str, Any]


class ColumnNames(NamedTuple):
    """The keys of question and answer, where the caller names them."""

    question: str | None = None
    answer: str | None = None


class Shape(NamedTuple):
    """`convert` returns an object as an example, or None for one of another shape."""

    name: str
    convert: Callable[[Example], Example | None]


def recognise_shape(sample: Sequence[Any], columns: ColumnNames, *, is_table: bool = False) -> Shape | None:
    """None if the objects are examples already, or have no recognised shape.

    Raises `FindingError` if two keys could be the question or the answer, or if a table has none.
    """
    objects = [record for record in sample if isinstance(record, dict)]
    if columns.question or columns.answer:
        return _question_answer_columns(objects, columns)
    others = [record for record in objects if kind_of(record) is None]
    if not others and not (is_table and objects):
        return None
    keys = list(dict.fromkeys(key for record in (others or objects) for key in record))
    if "instruction" in keys and "output" in keys:
        return Shape("Alpaca (instruction, input, output)", _from_alpaca)
    if "conversations" in keys or "conversation" in keys:
        return Shape("ShareGPT (conversations)", _from_sharegpt)
    questions = [key for key in keys if key.strip().lower() in QUESTIONS]
    answers = [key for key in keys if key.strip().lower() in ANSWERS]
    if len(questions) == 1 and len(answers) == 1:
        return _pairs(questions[0], answers[0])
    if is_table or (questions and answers):
        raise FindingError(make_finding("columns_ambiguous", value=", ".join(keys)))
    return None


def _question_answer_columns(objects: list[Example], columns: ColumnNames) -> Shape:
    keys = list(dict.fromkeys(key for record in objects for key in record))
    if columns.question in keys and columns.answer in keys:
        return _pairs(str(columns.question), str(columns.answer))
    raise FindingError(make_finding("columns_ambiguous", value=", ".join(keys)))


def _pairs(question: str, answer: str) -> Shape:
    def convert(record: Example) -> Example | None:
        if not isinstance(record.get(question), str) or not isinstance(record.get(answer), str):
            return None
        return _chat(_system_prompt(record), [(record[question], record[answer])])

    return Shape(f"questions and answers ({question}, {answer})", convert)


def _from_alpaca(record: Example) -> Example | None:
    instruction, context, output = record.get("instruction"), record.get("input") or "", record.get("output")
    history = record.get("history") or []
    if not isinstance(instruction, str) or not isinstance(output, str) or not isinstance(context, str):
        return None
    if not isinstance(history, list):
        return None
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        return None
    question = "\n".join(part for part in (instruction, context) if part)
    return _chat(_system_prompt(record), [*history, (question, output)])


def _system_prompt(record: Example) -> str:
    keys = (key for key in record if key.strip().lower() in _SYSTEM_KEYS and isinstance(record[key], str))
    key = next(keys, None)
    return record[key] if key is not None else ""


def _chat(system: str, turns: Sequence[Sequence[str]]) -> Example:
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def _from_sharegpt(record: Example) -> Example | None:
    turns = record.get("conversations", record.get("conversation"))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    system = _system_prompt(record)
    messages: list[Example] = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        message = _message(turn, messages)
        if message is None:
            return None
        messages.append(message)
    tools = _tools(record.get("tools"))
    return None if tools is None else {"messages": messages} | ({"tools": tools} if tools else {})


def _message(turn: Example, earlier: list[Example]) -> Example | None:
    text = turn.get("value", turn.get("content"))
    role = _ROLES.get(str(turn.get("from", turn.get("role"))))
    if role is None or not isinstance(text, str):
        return None
    if role == "call":
        return _call_message(text, len(earlier))
    if role == "result":
        calls = earlier[-1].get("tool_calls", []) if earlier else []
        return {"role": "tool", "tool_call_id": calls[0]["id"], "content": text} if len(calls) == 1 else None
    return {"role": role, "content": text}


def _call_message(text: str, number: int) -> Example | None:
    """A message with the call in `text`, {"name": …, "arguments": …} as JSON, or with a list of calls."""
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
    """Definitions, from a list or its JSON; [] without any, None for what is no list of definitions."""
    if not value:
        return []
    try:
        tools = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    if tools == []:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return None
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
