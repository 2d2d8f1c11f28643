"""Objects of other dataset formats → examples: recognises the format of a file, and converts its objects.

The shape of a file is recognised once, by the keys of its first objects; an object of another shape stays as it is.
Every key of an object is accounted for: it is used, passed on to the check if it decides the meaning, or listed as
unused.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from luthier.data.convert.call_texts import has_call_texts
from luthier.data.convert.conversations import (
    SPEAKERS,
    decoded_turns,
    from_conversation,
    from_turn_pairs,
    is_foreign_turn,
    question_messages,
)
from luthier.data.convert.preferences import from_preference
from luthier.data.convert.records import (
    CONTEXTS,
    HISTORIES,
    Converted,
    Example,
    account,
    decoded,
    find,
    history_turns,
    system_prompt,
)
from luthier.data.examples.example import kind_of
from luthier.data.examples.foreign_forms import rejected_key
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
CONVERSATIONS = ("messages", "conversations", "conversation", "dialog", "dialogue", "dialogs", "chat", "turns", "对话")


class ColumnNames(NamedTuple):
    """The keys of the question and the answer, if the caller names them."""

    question: str | None = None
    answer: str | None = None


class Shape(NamedTuple):
    """A dataset format; `convert` returns the example of an object, or None for an object of another shape."""

    name: str
    convert: Callable[[Example], Converted | None]


def recognise_shape(sample: Sequence[Any], columns: ColumnNames, *, is_table: bool = False) -> Shape | None:
    """The shape of a file's first objects; None if they are examples already, or have no known shape.

    Raises `FindingError` if several keys could be the question or the answer, if a table has neither, or if `columns`
    are not in the file.
    """
    objects = [record for record in sample if isinstance(record, dict)]
    if is_table:
        objects = [record for record in objects if not is_misfit(record)] or _headers(objects)
    if columns.question or columns.answer:
        return _named_columns(objects, columns)
    if any(map(rejected_key, objects)):
        pairs = Shape("preference pairs (chosen, rejected)", from_preference)
        return pairs if any(map(from_preference, objects)) else None
    shape = _shape_of_messages(objects, is_table)
    if shape:
        return shape
    others = [record for record in objects if kind_of(record) is None]
    has_structures = any(isinstance(member, list | dict) for record in objects for member in record.values())
    if not others and (not is_table or not objects or has_structures):
        return None
    keys = list(dict.fromkeys(key for record in (others or objects) for key in record))
    return _shape_of_keys(keys, others or objects, is_table)


def _headers(misfits: list[Example]) -> list[Example]:
    """An empty row of a table in which no row matches the header, so that its shape is judged by column names alone."""
    return [dict.fromkeys(filter(None, misfits[0]["columns"]), "")] if misfits else []


def is_misfit(record: Example) -> bool:
    """Whether it is a row that does not match the header of its table; see `tables`."""
    return record.keys() == {"columns", "row", "row_line"}


def _shape_of_messages(objects: list[Example], is_table: bool) -> Shape | None:
    """The shape of objects that have the keys of examples, but values of another form."""
    if is_table and any(isinstance(record.get("messages"), str) for record in objects):
        return Shape("messages as text", _from_text)
    if any(isinstance(decoded_turns(record.get("prompt")), list) and "completion" in record for record in objects):
        return Shape("prompt and completion as messages", _from_message_lists)
    if any(map(_has_foreign_turns, objects)):
        return Shape("messages of other roles or keys", _from_foreign_turns)
    return None


def _shape_of_keys(keys: list[str], objects: list[Example], is_table: bool) -> Shape | None:
    conversation = next((name for name in CONVERSATIONS if any(_has_turns(record, name) for record in objects)), None)
    if conversation:
        lists = [_turns(record, conversation) for record in objects]
        if any(turns and _is_turn_pair(turns[0]) for turns in lists):
            return Shape(
                "conversations of question and answer",
                lambda record: from_turn_pairs(record, find(record, (conversation,)) or ""),
            )
        name = "ShareGPT with calls as text" if any(map(has_call_texts, lists)) else "ShareGPT (conversations)"
        return Shape(name, lambda record: from_conversation(record, find(record, (conversation,)) or ""))
    questions, answers = _named(keys, QUESTIONS), _named(keys, ANSWERS)
    if "instruction" in keys and len(questions) > 1:
        questions = [key for key in questions if key != "input"]
    if "instruction" in keys and "output" in keys:
        questions, answers = ["instruction"], ["output"]
    if len(questions) == 1 and len(answers) == 1 and _are_texts(objects, questions[0], answers[0]):
        is_alpaca = (questions[0], answers[0]) == ("instruction", "output")
        return _pairs(questions[0], answers[0], keys, "Alpaca (instruction, input, output)" if is_alpaca else "")
    if is_table or (len(questions) + len(answers) > 2 and questions and answers):
        raise FindingError(make_finding("columns_ambiguous", value=", ".join(keys)))
    return None


def _named(keys: list[str], names: tuple[str, ...]) -> list[str]:
    return [key for key in keys if key.strip().lower() in names]


def _are_texts(objects: list[Example], question: str, answer: str) -> bool:
    """Whether some object has its question as text, and no object has a list or object as question or answer."""
    return any(isinstance(record.get(question), str) for record in objects) and not any(
        isinstance(record.get(key), list | dict) for record in objects for key in (question, answer)
    )


def _named_columns(objects: list[Example], columns: ColumnNames) -> Shape:
    keys = list(dict.fromkeys(key for record in objects for key in record))
    if columns.question in keys and columns.answer in keys:
        return _pairs(str(columns.question), str(columns.answer), keys)
    raise FindingError(make_finding("columns_ambiguous", value=", ".join(keys), detail="unknown name"))


def _pairs(question: str, answer: str, keys: list[str], name: str = "") -> Shape:
    """The shape of question/answer objects."""
    contexts = [key for key in _named(keys, CONTEXTS) if key not in (question, answer)]

    def convert(record: Example) -> Converted | None:
        if not isinstance(record.get(question), str):
            return None
        question_turns, used = question_messages(record, question, answer)
        if not question_turns:
            return None
        system = system_prompt(record)
        history = find(record, HISTORIES)
        turns = history_turns(record.get(history)) if history else []
        messages: list[Example] = [{"role": "system", "content": system.value}] if system.value else []
        for asked, answered in turns or []:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        messages += [*question_turns, {"role": "assistant", "content": record.get(answer)}]
        used += [answer, *system.keys, *([history] if history and turns is not None else [])]
        return account(record, {"messages": messages}, used)

    columns = ", ".join((question, answer, *contexts))
    return Shape(name or f"questions and answers ({columns})", convert)


def _turns(record: Example, name: str) -> list[Any]:
    """The list under the key of this name, in any case and also as JSON text; [] without one."""
    turns = decoded(record.get(find(record, (name,)) or ""))
    return turns if isinstance(turns, list) else []


def _has_turns(record: Example, name: str) -> bool:
    return any(isinstance(turn, dict) for turn in _turns(record, name))


def _is_turn_pair(turn: Any) -> bool:
    """Whether a turn has both a question and an answer, and no speaker."""
    if not isinstance(turn, dict) or find(turn, SPEAKERS):
        return False
    return bool(_named(list(turn), QUESTIONS) and _named(list(turn), ANSWERS))


def _from_text(record: Example) -> Converted | None:
    """Converts a table row whose `messages` and definitions are text."""
    messages = decoded(record.get("messages"))
    if not isinstance(messages, list):
        return None
    converted = _from_foreign_turns(record | {"messages": messages})
    if converted:
        return converted
    example: Example = {"messages": messages}
    for key in ("tools", "functions", "parallel_tool_calls"):
        value = decoded(record.get(key))
        if value not in (None, "", []):
            example[key] = value
    return account(record, example, {"messages", "tools", "functions", "parallel_tool_calls"})


def _from_message_lists(record: Example) -> Converted | None:
    prompt, completion = decoded_turns(record.get("prompt")), decoded_turns(record.get("completion"))
    if not isinstance(prompt, list):
        return None
    answer = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
    rest = {key: value for key, value in record.items() if key not in ("prompt", "completion")}
    example = {"messages": [*prompt, *answer]}
    if converted := _from_foreign_turns(rest | example):
        return converted
    tools = decoded(record.get("tools"))
    return account(rest, example | ({"tools": tools} if tools else {}), {"tools"})


def _has_foreign_turns(record: Example) -> bool:
    messages = record.get("messages")
    return isinstance(messages, list) and any(map(is_foreign_turn, messages))


def _from_foreign_turns(record: Example) -> Converted | None:
    return from_conversation(record, "messages") if _has_foreign_turns(record) else None
