"""Verifies that a rendered example can be read back: no call, argument, result or text of it is silently lost."""

from typing import Any

from luthier.data.examples.messages import Call
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.call_form import CallForm, parse_answer
from luthier.data.rendering.turn_composer import Messages, Segment, Tools
from luthier.types.errors import RenderError


def check_survival(messages: Messages, tools: Tools, segments: list[Segment], guard: str, form: CallForm) -> None:
    """Raises RenderError, with the number of the message, if a part of a message is missing from the rendered example.

    `guard`: the character that `ContentGuard` inserted into the special tokens of the content.
    """
    for segment in segments:
        if segment.message is None:
            continue
        lost = lost_of_answer(messages[segment.message], segment.text.replace(guard, ""), form, tools)
        if lost == "content":
            raise RenderError(f"Message {segment.message + 1}: its text is lost in this base model's chat template.")
        if lost is not None:
            raise RenderError(
                f"Message {segment.message + 1}: the call of {lost} cannot be read back from the text that this base "
                f"model's chat template writes for it (call form: {form.name})."
            )
    text, position = "".join(segment.text for segment in segments).replace(guard, ""), 0
    for index, message in enumerate(messages):
        content = message["content"].strip()
        position = _end_of(content, text, position)
        if position < 0:
            raise RenderError(f"Message {index + 1}: its text is lost in this base model's chat template.")


def _end_of(content: str, text: str, position: int) -> int:
    """The offset after `content` in `text`, searched from `position` and then from 0, plain or as a JSON string; -1 if
    it does not occur.
    """
    for start in (position, 0):
        for form in (content, lossless_json.dumps(content)[1:-1]):
            place = text.find(form, start)
            if place >= 0:
                return max(position, place + len(form))
    return -1


def written(messages: Messages, form: CallForm, definitions: Tools) -> Messages:
    """The messages, with arguments as they are passed to the form's template."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") for tool in definitions or []}
    return [
        {**message, "tool_calls": [_written_call(call, form, schemas) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _written_call(call: dict[str, Any], form: CallForm, schemas: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    if not isinstance(function["arguments"], dict):
        return call
    arguments = form.written_arguments(function["arguments"], schemas.get(function["name"]))
    return {**call, "function": {**function, "arguments": arguments}}


def lost_of_answer(message: dict[str, Any], text: str, form: CallForm, tools: Tools = None) -> str | None:
    """The part of an assistant message that cannot be read back from its rendered text: `content`, or the name of a
    function; None if all of it can.
    """
    expected = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []]
    if not expected:
        return None if message["content"].strip() in text else "content"
    answer = parse_answer(text, form, tools)
    for index, (name, arguments) in enumerate(expected):
        if index >= len(answer.calls) or not _is_call(answer.calls[index], name, arguments):
            return str(name)
    if message["content"].strip() not in (answer.content or ""):
        return "content"
    return None


def _is_call(call: Call, name: str, arguments: Any) -> bool:
    try:
        written = lossless_json.dumps(lossless_json.DECODER.decode(call.arguments), sort_keys=True)
    except ValueError:
        return False
    return call.name == name and written == lossless_json.dumps(arguments, sort_keys=True)
