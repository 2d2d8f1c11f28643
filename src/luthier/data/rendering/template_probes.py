"""Probes of a chat template: short conversations are rendered, and their parts are searched for in the result."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from luthier.data.rendering.call_form import CallForm, parse_answer
from luthier.data.rendering.survival import lost_of_answer, written
from luthier.data.rendering.turn_composer import Messages, Segment, Tools
from luthier.types.errors import RenderError

# What an answer may contain that many templates reject or lose.
Need = Literal["parallel calls", "text beside calls"]
NEEDS: tuple[Need, ...] = ("parallel calls", "text beside calls")
Loss = Literal["answer", "system", "turns", "definition", "call", "result"] | Need
FUNCTION_LOSSES: frozenset[Loss] = frozenset({"definition", "call", "result", *NEEDS})
# (messages, definitions) → the conversation, cut at both ends of every answer. Raises RenderError.
Compose = Callable[[Messages, Tools], list[Segment]]

_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "probe_call",
            "description": "Probes it",
            "parameters": {
                "type": "object",
                "properties": {
                    "probe_text": {"type": "string", "description": "Some text"},
                    "probe_number": {"type": "number"},
                    "probe_flag": {"type": "boolean"},
                    "probe_list": {"type": "array", "items": {"type": "string"}},
                    "probe_object": {"type": "object", "properties": {"a": {"type": "integer"}}},
                },
                "required": ["probe_text"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "probe_other",
            "description": "Nothing",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]
_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("probe_call", {"probe_text": 'It\'s "so"\n好 ', "probe_number": 1.5, "probe_flag": True}),
    ("probe_call", {"probe_text": "007", "probe_list": ["a", "b"], "probe_object": {"a": 1}}),
    ("probe_other", {}),
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, calls: Sequence[tuple[str, dict[str, Any]]] = ()) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"probe000{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(calls, start=1)
        ]
    return message


def result(text: str, number: int = 1) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": f"probe000{number}", "name": "probe_call"}


PLAIN_CONVERSATIONS: list[Messages] = [
    [user("q-one"), assistant("a-one")],
    [{"role": "system", "content": "s-one"}, user("q-one"), assistant("a-one")],
    [user("q-one"), assistant("a-one"), user("q-two"), assistant("a-two"), user("q-three"), assistant("a-three")],
]
CALL_CONVERSATIONS: list[Messages] = [
    [user("q-one"), assistant("", _CALLS[:1])],
    [user("q-one"), assistant("", _CALLS[:1]), result("r-one"), assistant("a-one")],
    [
        {"role": "system", "content": "s-one"},
        user("q-one"),
        assistant("", _CALLS[:1]),
        result("r-one"),
        assistant("a-one"),
        user("q-two"),
        assistant("", _CALLS[1:2]),
        result("r-two"),
        assistant("a-two"),
    ],
]
TEXT_BESIDE_CALL: Messages = [
    user("q-one"),
    assistant("a-one", _CALLS[:1]),
    result("r-one"),
    assistant("a-two"),
]
PARALLEL_CONVERSATION: Messages = [
    user("q-one"),
    assistant("", _CALLS),
    result("r-one"),
    result("r-two", 2),
    result("r-three", 3),
    assistant("a-one"),
]


def plain_losses(compose: Compose, form: CallForm) -> Iterator[Loss]:
    """The parts that plain conversations lose."""
    names: tuple[Loss, ...] = ("answer", "system", "turns")
    for name, messages in zip(names, PLAIN_CONVERSATIONS, strict=True):
        try:
            segments = compose(messages, None)
        except RenderError:
            yield name
            continue
        if not (_texts_survive(messages, segments) and _answers_are_texts(messages, segments, form)):
            yield name


def call_losses(compose: Compose, form: CallForm) -> Iterator[Loss]:
    """The parts that conversations with functions lose: definitions, results, and calls, which `form` must read back.
    Parallel calls are not probed.
    """
    try:
        if not _definitions_survive(compose([user("q-one"), assistant("a-one")], _TOOLS)):
            yield "definition"
    except RenderError:
        yield "definition"
    names: tuple[Loss, ...] = ("call", "result", "result")
    for name, messages in zip(names, CALL_CONVERSATIONS, strict=True):
        if not _survives(messages, compose, form):
            yield name
            return


def reads_parallel_calls(compose: Compose, form: CallForm) -> bool:
    return _survives(PARALLEL_CONVERSATION, compose, form)


def keeps_text_beside_calls(compose: Compose, form: CallForm) -> bool:
    return _survives(TEXT_BESIDE_CALL, compose, form)


def compose_call(compose: Compose, form: CallForm) -> list[Segment]:
    """The segments of a conversation that ends with a call."""
    return compose(written(CALL_CONVERSATIONS[0], form, _TOOLS), _TOOLS)


def _survives(messages: Messages, compose: Compose, form: CallForm) -> bool:
    try:
        segments = compose(written(messages, form, _TOOLS), _TOOLS)
    except RenderError:
        return False
    return _texts_survive(messages, segments) and all(
        lost_of_answer(messages[segment.message], segment.text, form, _TOOLS) is None
        for segment in segments
        if segment.message is not None
    )


def _texts_survive(messages: Messages, segments: list[Segment]) -> bool:
    text = "".join(segment.text for segment in segments)
    return all(message["content"] in text for message in messages if message["content"])


def _answers_are_texts(messages: Messages, segments: list[Segment], form: CallForm) -> bool:
    """Whether every answer begins with its text, so that nothing but marks of the form is trained before it."""
    answers = [(messages[segment.message], segment.text) for segment in segments if segment.message is not None]
    return all(
        (parse_answer(text, form).content or "").lstrip().startswith(message["content"]) for message, text in answers
    )


def _definitions_survive(segments: list[Segment]) -> bool:
    text = segments[0].text
    return all(name in text for name in ("probe_call", "Probes it", "probe_text", "Some text", "probe_other"))
