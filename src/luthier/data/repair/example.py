"""An example with structural faults → the example that was certainly intended, with the codes of the repairs.

Repairs only faults whose correction follows from the example itself: the spelling of a role, arguments that are an
object instead of its JSON, definitions in the wrong wrapping. No text is added or removed: no message except an empty
system prompt is dropped, and no key that holds text or says what is trained.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from luthier.data.check.structure.messages import MESSAGE_KEYS, ROLES
from luthier.data.examples.example import definitions_in, kind_of
from luthier.data.examples.key_meanings import (
    flagged_weight,
    is_certain_reasoning,
    is_description,
    is_empty,
    meaning_of,
    system_key_of,
    weight_from_flag,
)
from luthier.data.examples.preferences import NON_PREFERRED, PREFERRED
from luthier.data.findings import FindingError
from luthier.data.jsonl import lossless_json
from luthier.data.jsonl.exact_values import held_value, parse_exactly, python_value
from luthier.data.repair.foreign_parts import rewrite_parts

_ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "ai": "assistant", "用户": "user", "助手": "assistant", "系统": "system",
}  # fmt: skip
_DEFINITIONS = ("tools", "functions")
_TEXT_PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}  # by type, the key of the text
_WEIGHTS = {"0": 0, "1": 1, "True": 1, "False": 0}


def repair_example(value: Any) -> tuple[Any, list[str]]:
    """(the repaired copy of a JSON value, the codes of the repairs)."""
    value = deepcopy(value)
    codes: list[str] = []
    if isinstance(value, str) and isinstance(inner := _parsed(value), dict | list):
        value, codes = inner, ["data_type"]
    if _is_conversation(value):
        value, codes = {"messages": value}, ["data_type"]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and kind_of(value[0]):
        value, codes = value[0], ["data_type"]
    if isinstance(value, dict):
        for repair in (*_CONVERSATION_REPAIRS, _trained_as_usual, _completion, _preference):
            codes += repair(value)
    return value, list(dict.fromkeys(codes))


def _is_conversation(value: Any) -> bool:
    """Whether it is a list of messages, which lacks only the object around it."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and "role" in message for message in value)
    )


def _json_texts(example: dict[str, Any]) -> Iterator[str]:
    """Decodes messages and definitions that are JSON, or the output of Python's `print`, in a string."""
    for key, code in (("messages", "missing_messages_list"), *((key, "definition_invalid") for key in _DEFINITIONS)):
        if isinstance(text := example.get(key), str):
            value = held_value(text)
            if isinstance(value, list) or (isinstance(value, dict) and key in _DEFINITIONS):
                example[key] = value
                yield code
            elif key in _DEFINITIONS and is_empty(text):
                del example[key]
                yield code


def _definitions(example: dict[str, Any]) -> Iterator[str]:
    for key in _DEFINITIONS:
        if isinstance(definition := example.get(key), dict) and ("name" in definition or "function" in definition):
            example[key] = [definition]
            yield "definition_invalid"
    for index, tool in enumerate(tools := _list(example, "tools")):
        if isinstance(tool, dict) and "function" not in tool and isinstance(tool.get("name"), str):
            function = {key: value for key, value in tool.items() if (key, value) != ("type", "function")}
            if isinstance(function.get("input_schema"), dict) and "parameters" not in function:  # of Anthropic's API
                function["parameters"] = function.pop("input_schema")
            tools[index] = {"type": "function", "function": function}
            yield "definition_invalid"
    for index, function in enumerate(functions := _list(example, "functions")):
        if isinstance(function, dict) and "name" not in function and isinstance(function.get("function"), dict):
            functions[index] = function["function"]
            yield "definition_invalid"
    for _, function in definitions_in(example):
        if isinstance(function, dict):
            yield from _empty_objects(function)


def _empty_objects(function: dict[str, Any]) -> Iterator[str]:
    """Writes {} for [], which PHP writes for both."""
    if function.get("parameters") == []:
        function["parameters"] = {}
        yield "definition_invalid"
    parameters = function.get("parameters")
    if isinstance(parameters, dict) and parameters.get("properties") == []:
        parameters["properties"] = {}
        yield "definition_schema_invalid"


def _system_prompt(example: dict[str, Any]) -> Iterator[str]:
    """Moves a system prompt beside the messages to their start, if they have none."""
    if key := system_key_of(example):
        example["messages"] = [{"role": "system", "content": example.pop(key)}, *example["messages"]]
        yield "system_key"


def _completion(example: dict[str, Any]) -> Iterator[str]:
    """Writes a number or a truth value as text, as JSON does."""
    for key in ("prompt", "completion"):
        if kind_of(example) == "completion" and isinstance(example[key], int | float):
            example[key] = lossless_json.dumps(example[key])
            yield "content_type"


def _list(value: dict[str, Any], key: str) -> list[Any]:
    member = value.get(key)
    return member if isinstance(member, list) else []


def _trained_as_usual(example: dict[str, Any]) -> Iterator[str]:
    """Removes flags beside the messages that only say that the example is trained on."""
    if kind_of(example) == "chat":
        for key in [key for key, value in example.items() if meaning_of(key, value) == "loss"]:
            if flagged_weight(key, example[key]) == 1:
                del example[key]
                yield "loss_key"


def _preference(pair: dict[str, Any]) -> Iterator[str]:
    """Repairs the input of a preference pair and both answers, and puts an answer that is a message into a list."""
    if kind_of(pair) != "preference":
        return
    if isinstance(prompt := pair.get("input"), dict):
        for repair in _CONVERSATION_REPAIRS:
            yield from repair(prompt)
    for name in (*PREFERRED, *NON_PREFERRED):
        if isinstance(answer := pair.get(name), dict):
            pair[name] = [answer]
            yield "preference_invalid"
        if messages := _list(pair, name):
            answer = {"messages": messages}
            yield from _messages(answer)
            pair[name] = answer["messages"]


def _messages(example: dict[str, Any]) -> Iterator[str]:
    turns = _list(example, "messages")
    yield from rewrite_parts(turns)
    messages = [message for message in turns if isinstance(message, dict)]
    for message in messages:
        yield from _role(message)
        yield from _keys(message)
        yield from _refusal(message)
        yield from _parts(message)
        yield from _content(message)
        yield from _weight(message)
        yield from _calls(message)
    empty = [message for message in messages if message.get("role") == "system" and message.get("content") == ""]
    if empty and len(empty) < len(messages):
        example["messages"] = [message for message in turns if message not in empty]
        yield "missing_content"


_CONVERSATION_REPAIRS = (_json_texts, _definitions, _system_prompt, _messages)  # of an object with messages


def _role(message: dict[str, Any]) -> Iterator[str]:
    role = message.get("role")
    if isinstance(role, str) and role not in ROLES:
        plain = role.strip().lower()
        intended = _ROLES.get(plain, plain)
        if intended in ROLES:
            message["role"] = intended
            yield "unrecognized_role"


def _keys(message: dict[str, Any]) -> Iterator[str]:
    """Converts training flags to `weight`, and removes other unknown keys if nothing is lost with them."""
    is_answer = message.get("role") == "assistant"
    for key in [key for key in message if key not in MESSAGE_KEYS]:
        meaning = meaning_of(key, message[key])
        weight = weight_from_flag(message, key) if meaning == "loss" else None
        if weight is not None:
            del message[key]
            if is_answer:
                message["weight"] = weight
            yield "loss_key"
        elif is_certain_reasoning(message, key):
            message["reasoning_content"] = message.pop(key)
            yield "reasoning_key"
        elif meaning is None and is_description(key, message[key]):
            del message[key]
            yield "message_unrecognized_key"


def _refusal(message: dict[str, Any]) -> Iterator[str]:
    """Moves a refusal to the content of a message that has none."""
    refusal = message.get("refusal")
    has_call = message.get("tool_calls") or message.get("function_call")
    if message.get("content") is None and isinstance(refusal, str) and refusal and not has_call:
        message["content"] = message.pop("refusal")
        yield "missing_content"


def _parts(message: dict[str, Any]) -> Iterator[str]:
    """Converts content parts of other APIs that contain only text to parts of type text."""
    for index, part in enumerate(parts := _list(message, "content")):
        if not isinstance(part, dict) or str(part.get("type")) not in _TEXT_PARTS:
            continue
        text = part.get(_TEXT_PARTS[part["type"]])
        rest = {key: value for key, value in part.items() if key not in ("type", _TEXT_PARTS[part["type"]])}
        if isinstance(text, str) and all(map(is_empty, rest.values())):
            parts[index] = {"type": "text", "text": text}
            yield "content_type"


def _content(message: dict[str, Any]) -> Iterator[str]:
    """Writes a number as text, a function's result as JSON, and an object that contains only a text as that text."""
    content = message.get("content")
    is_result = message.get("role") in ("tool", "function")
    is_parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    if (isinstance(content, int | float)) or (is_result and isinstance(content, dict | list) and not is_parts):
        message["content"] = lossless_json.dumps(content)
        yield "content_type"
    elif isinstance(content, dict) and {"type": "text"} | content == {"type": "text", "text": str(content.get("text"))}:
        message["content"] = content["text"]
        yield "content_type"


def _weight(message: dict[str, Any]) -> Iterator[str]:
    weight = message.get("weight")
    if weight is None:
        return
    if message.get("role") != "assistant":
        del message["weight"]
        yield "weight_invalid"
    elif isinstance(weight, bool | str) and str(weight) in _WEIGHTS:
        message["weight"] = _WEIGHTS[str(weight)]
        yield "weight_invalid"


def _calls(message: dict[str, Any]) -> Iterator[str]:
    yield from _call_forms(message)
    wrapped = [call.get("function") for call in _list(message, "tool_calls") if isinstance(call, dict)]
    for call in [message.get("function_call"), *wrapped]:
        if isinstance(call, dict) and "name" in call:
            yield from _arguments(call)


def _call_forms(message: dict[str, Any]) -> Iterator[str]:
    """Decodes a call that is written as text, and moves the name and arguments of a flat one under `function`."""
    text = message.get("function_call")
    if isinstance(text, str) and _is_call(call := held_value(text)):
        message["function_call"] = call
        yield "call_invalid"
    for index, call in enumerate(calls := _list(message, "tool_calls")):
        text = call.get("function") if isinstance(call, dict) else None
        if isinstance(text, str) and _is_call(function := held_value(text)):
            call["function"] = function
            yield "call_invalid"
        if isinstance(call, dict) and "function" not in call:
            function = {key: value for key, value in call.items() if key in ("name", "arguments")}
            rest = {key: value for key, value in call.items() if key not in function}
            if _is_call(function) and rest.keys() <= {"id", "type"}:
                calls[index] = {"type": "function"} | rest | {"function": function}
                yield "call_invalid"


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and value.keys() <= {"name", "arguments"}


def _arguments(call: dict[str, Any]) -> Iterator[str]:
    """Writes arguments as a string that contains a JSON object."""
    arguments = call.get("arguments")
    if (arguments in (None, "") and "parameters" not in call) or arguments == []:
        call["arguments"] = "{}"
        yield "arguments_not_json"
    elif isinstance(arguments, str) and arguments.strip() == "[]":  # which PHP writes for no arguments
        call["arguments"] = "{}"
        yield "arguments_not_object"
    elif isinstance(arguments, dict):
        call["arguments"] = lossless_json.dumps(arguments)
        yield "arguments_not_json"
    elif isinstance(arguments, str):
        inner = _parsed(arguments)
        if isinstance(inner, str) and isinstance(_parsed(inner), dict):
            call["arguments"] = inner
            yield "arguments_encoded_twice"
        elif inner is None and isinstance(value := python_value(arguments), dict):
            call["arguments"] = lossless_json.dumps(value)
            yield "arguments_not_json"


def _parsed(text: str) -> Any:
    try:
        return parse_exactly(text)
    except (FindingError, ValueError):
        return None
