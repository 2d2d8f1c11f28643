"""The one renderer: what is learnt is what will be read, and content can never pass for the template's own marks."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.examples.example import Example
from luthier.data.examples.messages import Answer, Call, normalize_messages, normalize_tools
from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.content_guard import ContentGuard
from luthier.data.rendering.hermes_form import HERMES
from luthier.data.rendering.renderer import Renderer
from luthier.types.chat import FunctionDefinition, Tool
from luthier.types.errors import BaseModelError, RenderError
from property_examples import example_count
from tiny import TEMPLATE, make_tiny_base

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> Renderer:
    return Renderer(tiny_base)


def example(messages: list[dict[str, Any]], tools: Any = None, functions: Any = None) -> Example:
    return Example(messages, normalize_tools(tools, functions), line=1)


def call(name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": name, "arguments": text}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def trained(renderer: Renderer, result: Any) -> str:
    rendered = renderer.example(result)
    return renderer.decode([token for token, weight in zip(rendered.ids, rendered.weights, strict=True) if weight])


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


CHATS = [
    [user("a"), assistant("b")],
    [{"role": "system", "content": "s"}, user("a"), assistant("b"), user("c\n"), assistant("\n\nd ")],
    [user("你好"), assistant("您好！"), user("再见"), assistant("")],
]


@pytest.mark.parametrize("messages", CHATS)
def test_plain_chats_are_written_as_the_base_writes_them(renderer: Renderer, messages: list[dict[str, Any]]) -> None:
    own = Template(TEMPLATE, {}).render(normalize_messages(messages), None)
    assert renderer.decode(renderer.example(example(messages)).ids) == own


def test_answers_with_their_end_are_learnt_and_nothing_else(renderer: Renderer) -> None:
    messages = [user("a"), assistant("one"), user("b"), assistant("two", weight=0), user("c"), assistant("three")]
    assert trained(renderer, example(messages)) == "one<|im_end|>three<|im_end|>"


@settings(max_examples=example_count(60))
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=3))
def test_a_prompt_is_what_was_learnt_up_to_the_answer(renderer: Renderer, turns: list[tuple[str, str]]) -> None:
    """The tokens before each trained answer are the very tokens that serving would send, in every turn."""
    turns = [(entry.encode("utf-8", "ignore").decode(), two.encode("utf-8", "ignore").decode()) for entry, two in turns]
    messages = [message for prompt, reply in turns for message in (user(prompt), assistant(reply))]
    ids = renderer.example(example(messages)).ids
    for index in range(0, len(messages), 2):
        prompt = renderer.prompt(messages[: index + 1])
        assert ids[: len(prompt)] == prompt


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|im_start|>system\n", "a<|im_end|>b<|im_start|>"])
def test_marks_inside_content_are_plain_text(renderer: Renderer, mark: str) -> None:
    """Nobody can end a turn or open a system turn from inside a message, in text or in arguments."""
    messages = [user(mark), assistant(mark)]
    ids = renderer.example(example(messages)).ids
    assert [token for token in ids if token >= 256].count(257) == 3  # default system turn, user, assistant: one each
    assert renderer.decode(ids).count(mark) >= 2
    calls = [user("x"), call("f", {"text": mark})]
    assert [token for token in renderer.example(example(calls, [TOOL])).ids if token >= 256].count(257) == 3


def test_legacy_functions_read_as_tools(renderer: Renderer) -> None:
    function_call = {"name": "f", "arguments": '{"a": 1}'}
    legacy = example([user("x"), {"role": "assistant", "function_call": function_call}], functions=[TOOL["function"]])
    today = example([user("x"), call("f", {"a": 1})], tools=[TOOL])
    assert renderer.example(legacy) == renderer.example(today)


def test_arguments_are_learnt_as_an_object_not_as_a_string(renderer: Renderer) -> None:
    body = trained(renderer, example([user("x"), call("f", {"city": "北京", "n": 1})]))
    assert body == '<tool_call>\n{"name": "f", "arguments": {"city": "北京", "n": 1}}\n</tool_call><|im_end|>'


def test_definitions_and_results_are_read_not_learnt(renderer: Renderer) -> None:
    messages = [
        user("x"),
        call("f", {}),
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        assistant("It is 42."),
    ]
    text = renderer.decode(renderer.example(example(messages, [TOOL])).ids)
    assert '"name": "f", "parameters"' in text.split("<|im_end|>")[0]
    assert "<|im_start|>tool\n42<|im_end|>" in text
    assert trained(renderer, example(messages, [TOOL])).endswith("<|im_end|>It is 42.<|im_end|>")


MARKS = ["<tool_call>", "</tool_call>", "<|im_end|>", '"}}\n</tool_call>', "007", "\\", "\n"]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(MARKS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def _clean(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "ignore"))


@settings(max_examples=example_count(80))
@given(st.lists(st.dictionaries(st.text(max_size=6), json_values, max_size=3), min_size=1, max_size=3))
def test_calls_come_back_as_they_went_in(renderer: Renderer, several: list[dict[str, Any]]) -> None:
    """render, tokens, text, parse: the same JSON, whatever the arguments hold."""
    several = [_clean(arguments) for arguments in several]
    calls = [call("f", arguments)["tool_calls"][0] for arguments in several]
    body = trained(renderer, example([user("x"), {"role": "assistant", "tool_calls": calls}]))
    answer = parse_answer(body.removesuffix("<|im_end|>"), HERMES)
    assert answer.content is None
    assert [json.loads(entry.arguments) for entry in answer.calls] == several


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": 1e3, "b": 1.10, "c": -0, "d": [0.10, {"e": 1E+2}], "f": 12345678901234567890.0}',
        '{"code": "007", "quote": "\\"", "line": "a\\nb", "zh": "请假三天", "mark": "</tool_call>"}',
        "{}",
        '{"private": "\ue000", "n": 1e3}',
    ],
)
def test_arguments_come_back_digit_by_digit(renderer: Renderer, arguments: str) -> None:
    message = trained(renderer, example([user("x"), call("f", arguments)]))
    assert parse_answer(message.removesuffix("<|im_end|>"), HERMES).calls == [Call("f", arguments)]


@pytest.mark.parametrize("content", ["Let me look.", " a ", "a\n", "查一下：\n\n"])
def test_text_beside_calls_comes_back(renderer: Renderer, content: str) -> None:
    calls = [call("f", {"a": 1})["tool_calls"][0], call("g", {})["tool_calls"][0]]
    body = trained(renderer, example([user("x"), {"role": "assistant", "content": content, "tool_calls": calls}]))
    answer = parse_answer(body.removesuffix("<|im_end|>"), HERMES)
    assert answer == Answer(content, [Call("f", '{"a": 1}'), Call("g", "{}")])


def test_blank_text_around_calls_is_none() -> None:
    text = '\n\n<tool_call>{"name": "f"}</tool_call>\n\n<tool_call>{"name": "g"}</tool_call>\n'
    assert parse_answer(text, HERMES) == Answer(None, [Call("f", "{}"), Call("g", "{}")])


@pytest.mark.parametrize(
    "text",
    ["<tool_call>\nnot json\n</tool_call>", '<tool_call>{"name": 3}</tool_call>', '<tool_call>{"a": 1}', "plain"],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert parse_answer(text, HERMES) == Answer(text)


@pytest.mark.parametrize("arguments", ["{", "[1]", '"{}"'])
def test_arguments_that_are_no_object_are_refused_by_place(arguments: str) -> None:
    message = {"role": "assistant", "function_call": {"name": "f", "arguments": arguments}}
    with pytest.raises(RenderError, match=r"Message 2: the arguments of f"):
        normalize_messages([user("x"), message])


def test_parts_of_text_are_joined_and_others_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert normalize_messages([{"role": "user", "content": parts}])[0]["content"] == "ab"
    with pytest.raises(RenderError, match="not text"):
        normalize_messages([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def test_definitions_take_todays_form() -> None:
    assert normalize_tools(None, [TOOL["function"]]) == [TOOL]
    assert normalize_tools([TOOL], None) == [TOOL]
    assert normalize_tools([], None) is None


def test_definitions_read_the_same_wherever_they_come_from() -> None:
    """A file has its own order of keys and its nulls; a request has gone through the server's types."""
    parameters = {"type": "object", "properties": {"b": {"default": None}, "a": {}}}
    written = {"strict": None, "parameters": parameters, "name": "f", "description": "d"}
    sent = Tool(type="function", function=FunctionDefinition(**written)).model_dump(exclude_none=True)
    assert json.dumps(normalize_tools([sent], None)) == json.dumps(normalize_tools(None, [written]))
    assert json.dumps(normalize_tools([sent], None)[0]["function"]["parameters"]) == json.dumps(parameters)


def test_a_template_that_rewrites_earlier_turns_is_not_used(tmp_path: Path) -> None:
    """It would leave open which tokens are the answer's."""
    base = make_tiny_base(tmp_path / "base")
    (base / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message.role }}{{ loop.length }}:{{ message.content }};{% endfor %}"
    )
    messages = [user("a"), assistant("b"), user("c"), assistant("d")]
    renderer = Renderer(base)
    assert renderer.choice.lost[0] == "answer"
    assert trained(renderer, example(messages)) == "b<|im_end|>d<|im_end|>"


def test_templates_cannot_reach_out(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises((RenderError, BaseModelError), match="unsafe"):
        Renderer(base).prompt([user("a")])


@pytest.mark.parametrize("missing", ["tokenizer.json", "tokenizer_config.json"])
def test_a_base_that_lacks_a_file_is_named(tiny_base: Path, tmp_path: Path, missing: str) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / missing).unlink()
    with pytest.raises(BaseModelError, match="no usable tokenizer or chat template"):
        Renderer(base)


def test_tokens_know_their_bytes(renderer: Renderer) -> None:
    ids = renderer.prompt([user("é你")])
    assert b"".join(renderer.token_bytes(token) for token in ids).decode() == renderer.decode(ids)


def test_a_reader_holds_back_half_characters(renderer: Renderer) -> None:
    read = renderer.stream_decoder()
    pieces = [read(token) for token in renderer.prompt([user("你好")])]
    assert "�" not in "".join(pieces)
    assert "你好" in "".join(pieces)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "q"},
        {"role": ["user"], "content": "q"},
        {"role": "user", "content": 5},
        {"role": "user", "content": {"text": "q"}},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "assistant", "content": "a", "weight": "high"},
        {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}]},
        {"role": "assistant", "tool_calls": ["f"]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": {"a": 1}}},
    ],
)
def test_what_nobody_checked_is_an_error_that_names_the_message(renderer: Renderer, message: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="Message 2"):
        renderer.example(example([{"role": "user", "content": "q"}, message]))


@pytest.mark.parametrize("tools", ["[]", [1], ["f"], 3])
def test_definitions_that_nobody_checked(renderer: Renderer, tools: Any) -> None:
    with pytest.raises(RenderError, match="definitions"):
        renderer.example(example([{"role": "user", "content": "q"}], tools))


def test_a_text_that_holds_all_private_use_characters_of_the_first_plane(renderer: Renderer) -> None:
    text = "".join(map(chr, range(0xE000, 0xF900)))
    ids = renderer.prompt([{"role": "user", "content": text + "<|im_end|>"}])
    plain = renderer.prompt([{"role": "user", "content": "q"}])
    assert text + "<|im_end|>" in renderer.decode(ids)
    assert all(ids.count(stop) == plain.count(stop) for stop in renderer.stop_ids)


def test_definitions_are_guarded_once_and_stay_guarded(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"type": "function", "function": {"name": "g", "description": "ends <|im_end|> here", "parameters": {}}}
    other = [user("\ue000"), assistant("b")]  # takes the first mark away
    first = renderer.example(example(CHATS[0], [described]))
    guarded = []
    guard = ContentGuard._guarded
    monkeypatch.setattr(ContentGuard, "_guarded", lambda self, *args: guarded.append(args[0]) or guard(self, *args))
    assert renderer.example(example(CHATS[0], [dict(described)])) == first
    assert described["function"] not in guarded
    assert renderer.decode(renderer.example(example(other, [described])).ids).count("ends <|im_end|> here") == 1
    assert first.ids.count(257) == renderer.example(example(CHATS[0], [TOOL])).ids.count(257)
