"""Decoding what is trained gives back every call, argument, result and text, in every form; else it is refused."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_call_forms import ADDED, MARKS, WRITTEN

from luthier.data.examples.example import Example
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.harmony_form import HarmonyForm
from luthier.data.rendering.renderer import Renderer
from luthier.types.errors import RenderError
from nasty_calls import PROPERTIES, TOOLS
from property_examples import example_count
from templates import NO_FUNCTIONS, REASONS, write_base

_TURNS = """{%- if tools %}<system>{{ tools | tojson }}{% endif -%}
{%- for message in messages %}{{ '<' + message.role + '>' }}{% if message.tool_calls -%}
{{ message.content }}{% set calls = message.tool_calls | map(attribute='function') | list %}CALLS{{ '<end>' }}
{%- else %}{{ LEAD + message.content + '<end>' }}{% endif %}{% endfor -%}
{{ '<assistant>' if add_generation_prompt }}"""
_HARMONY = "('<|channel|>final<|message|>' if message.role == 'assistant' else '')"
_OWN = {"no functions": NO_FUNCTIONS, "reasons": REASONS}
KINDS = [*_OWN, *WRITTEN]


@cache
def renderer_of(kind: Any) -> Renderer:
    """Of a base whose template writes the form, or none, so that Luthier's own takes its place."""
    lead, end = (_HARMONY, "<|end|>") if kind is HarmonyForm else ("''", "<end>")
    template = _OWN.get(kind) or _TURNS.replace("CALLS", WRITTEN[kind]).replace("LEAD", lead).replace("<end>", end)
    marks = (*MARKS, "<start>", "<end>", "<system>", "<user>", "<assistant>", "<tool>")
    with TemporaryDirectory() as folder:
        return Renderer(write_base(Path(folder), template, marks, added=ADDED))


texts = st.text(max_size=6) | st.sampled_from(
    ["<end>", "好 ", "it's", "<|end|><|start|>assistant", "</tool_call>", "<tool_call|>", '<|"|>', "\n```", "[ARGS]{}"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
arguments = st.dictionaries(st.sampled_from(list(PROPERTIES)) | texts, values, max_size=3)
calls = st.lists(st.tuples(st.sampled_from(["get_price", "f-2"]), arguments), max_size=2)
rounds = st.lists(st.tuples(texts, texts, calls, texts), min_size=1, max_size=2)


def conversation(turns: list[tuple[str, str, list[tuple[str, dict[str, Any]]], str]]) -> list[dict[str, Any]]:
    """Of each turn: the question, the answer's text and calls, and the result of every call."""
    messages: list[dict[str, Any]] = []
    for question, answer, called, outcome in turns:
        message: dict[str, Any] = {"role": "assistant", "content": answer}
        messages += [{"role": "user", "content": question}, message]
        if called:
            message["tool_calls"] = [_call(f"c{index}", *each) for index, each in enumerate(called)]
            results = [
                {"role": "tool", "tool_call_id": call["id"], "content": outcome} for call in message["tool_calls"]
            ]
            messages += [*results, {"role": "assistant", "content": "Done."}]
    return messages


def _call(number: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "type": "function", "function": {"name": name, "arguments": lossless_json.dumps(arguments)}}


def trained_answers(renderer: Renderer, example: Example) -> list[str]:
    """The decoded tokens of each answer."""
    rendered = renderer.example(example)
    answers, is_answer = list[list[int]](), False
    for token, weight in zip(rendered.ids, rendered.weights, strict=True):
        if weight and not is_answer:
            answers.append([])
        if weight:
            answers[-1].append(token)
        is_answer = bool(weight)
    return [renderer.decode(answer) for answer in answers]


@pytest.mark.long
@settings(max_examples=example_count(20))
@given(turns=rounds, with_definitions=st.booleans())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind if isinstance(kind, str) else kind.__name__)
def test_what_is_trained_can_be_read_back(kind: Any, turns: Any, with_definitions: bool) -> None:
    renderer, tools = renderer_of(kind), TOOLS if with_definitions else None
    assert kind in _OWN or type(renderer.call_form) is kind
    example = Example(conversation(turns), tools)
    try:
        answers = trained_answers(renderer, example)
    except RenderError:
        return
    whole = renderer.decode(renderer.example(example).ids)
    of_assistant = [message for message in example.messages if message["role"] == "assistant"]
    for message, text in zip(of_assistant, answers, strict=True):
        functions = [call["function"] for call in message.get("tool_calls", [])]
        answer = parse_answer(text, renderer.call_form, tools)
        assert message["content"].strip() in ((answer.content or "") if functions else text)
        if functions:
            assert [(call.name, canonical(call.arguments)) for call in answer.calls] == [
                (function["name"], canonical(function["arguments"])) for function in functions
            ]
    for message in example.messages:
        content = message["content"].strip()
        assert content in whole or lossless_json.dumps(content)[1:-1] in whole


def canonical(text: str) -> str:
    return lossless_json.dumps(lossless_json.DECODER.decode(text), sort_keys=True)


def test_most_examples_are_trained() -> None:
    """A base that refused everything would lose nothing."""
    turns = [("q", "", [("get_price", {"text": "A", "number": 1.5, "list": ["a", 1]})], "12"), ("好", "Yes.", [], "")]
    for kind in KINDS:
        assert len(trained_answers(renderer_of(kind), Example(conversation(turns), TOOLS))) == 3, kind
