"""Every call form: what is written is read back, whole and in pieces, and its grammar accepts what it writes."""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

from luthier.data.examples.messages import Answer, Call
from luthier.data.rendering.call_form import CallForm, ReasoningText, VisibleText, collect_answer, parse_answer
from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.deepseek_form import DeepSeekForm
from luthier.data.rendering.gemma_form import GemmaForm
from luthier.data.rendering.harmony_form import HarmonyForm
from luthier.data.rendering.hermes_form import HermesForm
from luthier.data.rendering.lfm_form import LfmForm, UnescapedLfmForm
from luthier.data.rendering.llama_form import LlamaForm
from luthier.data.rendering.marked_form import SpecialTokens
from luthier.data.rendering.mistral_form import MistralForm, MistralListForm
from luthier.data.rendering.survival import lost_of_answer, written
from luthier.data.rendering.tagged_form import GlmForm, XmlForm
from nasty_calls import NASTY, PROPERTIES, TOOLS
from property_examples import example_count
from templates import write_base

_LFM = (
    "{% set q = \"'\" %}<|tool_call_start|>[{% for f in calls %}{{ '' if loop.first else ', ' }}{{ f.name }}("
    "{% for key, v in f.arguments.items() %}{{ '' if loop.first else ', ' }}{{ key }}="
    "{{ q + (TEXT) + q if v is string else v | tojson if v is mapping else v | string }}"
    "{% endfor %}){% endfor %}]<|tool_call_end|>"
)
# What a template of each form writes for calls, in the words of its maker's; `calls` is the list of functions.
WRITTEN = {
    HermesForm: "{% for f in calls %}{{ '' if loop.first else '\n' }}<tool_call>\n{\"name\": {{ f.name | tojson }}, "
    '"arguments": {{ f.arguments | tojson }}}\n</tool_call>{% endfor %}',
    XmlForm: "{% for f in calls %}{{ '' if loop.first else '\n' }}<tool_call>\n<function={{ f.name }}>\n"
    "{% for key, value in f.arguments.items() %}<parameter={{ key }}>\n"
    "{{ value | tojson if value is mapping or (value is sequence and value is not string) else value | string }}"
    "{{ '\n' }}</parameter>\n{% endfor %}{{ '' }}</function>\n</tool_call>{% endfor %}",
    GlmForm: "{% for f in calls %}{{ '' if loop.first else '\n' }}<tool_call>{{ f.name }}{{ '\n' }}"
    "{% for key, value in f.arguments.items() %}<arg_key>{{ key }}</arg_key>\n"
    "<arg_value>{{ value | tojson if value is not string else value }}</arg_value>\n{% endfor %}</tool_call>"
    "{% endfor %}",
    MistralForm: "{% for f in calls %}[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}{% endfor %}",
    MistralListForm: "[TOOL_CALLS] [{% for f in calls %}{{ '' if loop.first else ', ' }}"
    '{"name": {{ f.name | tojson }}, "arguments": {{ f.arguments | tojson }}, "id": "call0000{{ loop.index }}"}'
    "{% endfor %}]",
    LlamaForm: '{% for f in calls %}{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}{% endfor %}',
    LfmForm: _LFM.replace("TEXT", r"v | replace('\\', '\\\\') | replace(q, '\\' + q) | replace('\n', '\\n')").replace(
        "mapping", "iterable"
    ),
    UnescapedLfmForm: _LFM.replace("TEXT", "v"),
    GemmaForm: """{%- macro write(v) -%}{%- if v is none -%}null{%- elif v is string -%}<|"|>{{ v }}<|"|>
{%- elif v is boolean -%}{{ 'true' if v else 'false' }}{%- elif v is mapping -%}{ {%- for key, value in v | dictsort -%}
{{ key }}:{{ write(value) }}{{ '' if loop.last else ',' }}{%- endfor -%} }{%- elif v is sequence -%}[
{%- for value in v -%}{{ write(value) }}{{ '' if loop.last else ',' }}{%- endfor -%}]{%- else -%}{{ v }}{%- endif -%}
{%- endmacro -%}{%- for f in calls -%}<|tool_call>call:{{ f.name }}{{ write(f.arguments) }}<tool_call|>
{%- endfor -%}""",
    DeepSeekForm: "<｜tool▁calls▁begin｜>{% for f in calls %}{{ '' if loop.first else '\n' }}"
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ f.name }}{{ '\n```json\n' }}"
    "{{ f.arguments | tojson }}{{ '\n```' }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>",
    HarmonyForm: " to=functions.{{ calls[0].name }}<|channel|>commentary json<|message|>"
    "{{ calls[0].arguments | tojson }}",
}
SINGLE = (LlamaForm, HarmonyForm)  # write one call at a time
MARKS = (
    "[TOOL_CALLS]", "[ARGS]", "<|tool_call_start|>", "<|tool_call_end|>", "<|tool_call>", "<tool_call|>", '<|"|>',
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
    "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>",
)  # fmt: skip
ADDED = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")


@pytest.fixture(params=WRITTEN, ids=lambda form: form.__name__)
def form(request: pytest.FixtureRequest) -> CallForm:
    call_form: CallForm = request.param()
    return call_form


@cache
def template(kind: type) -> Template:
    return Template(WRITTEN[kind], {})


def write(form: CallForm, calls: list[tuple[str, dict[str, Any]]], tools: Any = None) -> str:
    message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls],
    }
    functions = [call["function"] for call in written([message], form, tools)[0]["tool_calls"]]
    return template(type(form)).render([], None, options={"calls": functions})


def events(form: CallForm, pieces: list[str], *, cut_off: bool = False, tools: Any = None) -> Answer:
    """As `parse_answer`, from pieces."""
    reader = form.new_reader(tools)
    read = [event for piece in pieces for event in reader.feed(piece)]
    return collect_answer([*read, *reader.finish(cut_off=cut_off)])


@pytest.mark.parametrize("arguments", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no definitions", "definitions"])
def test_arguments_come_back(form: CallForm, arguments: dict[str, Any], tools: Any) -> None:
    text = write(form, [("get_price", arguments)], tools)
    message = {"content": "", "tool_calls": [{"function": {"name": "get_price", "arguments": arguments}}]}
    assert lost_of_answer(message, text, form, tools) is None
    whole = parse_answer(text, form, tools)
    assert whole.content is None
    for cut in range(0, len(text) + 1, 3):
        assert events(form, [text[:cut], text[cut:]], tools=tools).calls == whole.calls
    assert events(form, list(text), tools=tools).calls == whole.calls


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["</parameter>", "\n</parameter>\n<parameter=", "</arg_value>\n<arg_key>", "5"])
    | st.sampled_from(["it's", "\\'", "')]", "<tool_call|>", "}<tool_call|>", "\n```", "{a:1}", "True"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
calls_of_functions = st.lists(
    st.tuples(st.sampled_from(["get_price", "f-2"]), st.dictionaries(st.sampled_from(list(PROPERTIES)), values)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=example_count(30))
@given(calls=calls_of_functions, seed=st.integers(0, 10**6))
@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind not in SINGLE], ids=lambda kind: kind.__name__)
def test_several_calls_come_back_or_are_named(kind: Any, calls: Any, seed: int) -> None:
    """Without definitions every call comes back; pieces change nothing. Gemma's names inside objects stand without
    quotation marks, so that some cannot be read.
    """
    calls = json.loads(json.dumps(calls, ensure_ascii=False).encode("utf-8", "ignore"))
    form = kind()
    text = write(form, calls)
    message = {"content": "", "tool_calls": [{"function": {"name": n, "arguments": a}} for n, a in calls]}
    lost = lost_of_answer(message, text, form)
    assert lost is None or (kind is GemmaForm and lost in ("get_price", "f-2"))
    cuts = sorted({seed % (len(text) + 1), seed // 7 % (len(text) + 1)})
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert events(form, pieces) == parse_answer(text, form)


def test_a_cut_call_is_a_call_so_far(form: CallForm) -> None:
    text = write(form, [("get_price", {"text": "abc", "number": 15})], TOOLS)
    whole = parse_answer(text, form, TOOLS).calls[0]
    for cut in range(len(text)):
        answer = events(form, [text[:cut]], cut_off=True, tools=TOOLS)
        assert answer.content is None or answer.content in text[:cut]
        for call in answer.calls:
            assert call.name == whole.name
            assert whole.arguments.replace(" ", "").startswith(call.arguments.replace(" ", "").rstrip("}"))


@pytest.mark.parametrize("text", ["Hello.", "a < b", "{not json}", "<b>x</b>", "[TOOL] x", "<tool_call", "[1, 2]"])
def test_text_stays_text(form: CallForm, text: str) -> None:
    assert parse_answer(text, form) == Answer(text)
    assert events(form, list(text)) == Answer(text)


@pytest.mark.parametrize(
    "form", [form for form in WRITTEN if form not in SINGLE], indirect=True, ids=lambda form: form.__name__
)
def test_text_beside_calls_comes_back(form: CallForm) -> None:
    text = "Let me look.\n" + write(form, [("get_price", {"text": "A"})])
    assert parse_answer(text, form).content == "Let me look."


@pytest.fixture(scope="module", params=[(), ADDED], ids=["marks are text", "marks are tokens"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    base = write_base(tmp_path_factory.mktemp("base"), "", MARKS, added=request.param)
    return Tokenizer.from_file(str(base / "tokenizer.json"))


@cache
def grammar_tokenizer(tokenizer_json: str, eos_id: int) -> LLTokenizer:
    return LLTokenizer(tokenizer_json, eos_token=[eos_id])


def accepts(tokenizer: Tokenizer, rules: list[str], start: str, text: str) -> bool:
    grammar = "%llguidance {}\n" + "\n".join([f"start: {start}", *rules]) + "\n"
    matcher = LLMatcher(grammar_tokenizer(tokenizer.to_str(), tokenizer.token_to_id("<eos>")), grammar)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return not matcher.is_error() and matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


STRICT = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "unit": {"type": "string", "enum": ["a", "b c"]},
        "count": {"type": "integer"},
    },
    "required": ["code", "count"],
    "additionalProperties": False,
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ({"code": "A", "count": 1}, True),
        ({"count": 1, "code": "A\nB"}, True),
        ({"unit": "b c", "count": 1, "code": "A"}, True),
        ({"code": "A"}, False),
        ({"code": "A", "count": "one"}, False),
        ({"code": "A", "count": 1, "unit": "z"}, False),
        ({"code": "A", "count": 1, "more": 2}, False),
    ],
)
def test_grammars_accept_valid_calls_alone(form: CallForm, tokenizer: Tokenizer, arguments: Any, valid: bool) -> None:
    tools = [{"function": {"name": "get_price", "parameters": STRICT}}, {"function": {"name": "none"}}]
    form = type(form)(SpecialTokens.of([*MARKS, *ADDED], tokenizer.token_to_id))
    rules = form.grammar_rules(tools, parallel=False)
    text = write(form, [("get_price", arguments)], tools)
    assert accepts(tokenizer, rules, "calls", text) == valid
    assert accepts(tokenizer, rules, "calls", write(form, [("none", {})], tools))
    assert not accepts(tokenizer, rules, "calls", write(form, [("other", {})], tools))
    mixed = f"TEXT | text_and_calls\n{form.text_rule}"
    assert accepts(tokenizer, rules, mixed, "Only text.")
    if not isinstance(form, SINGLE):
        assert accepts(tokenizer, rules, mixed, "Text.\n" + text) == valid


def test_grammars_allow_several_calls_where_they_are_wanted(form: CallForm, tokenizer: Tokenizer) -> None:
    if isinstance(form, SINGLE):
        pytest.skip("writes one call at a time")
    tools = [{"function": {"name": "get_price", "parameters": STRICT}}]
    form = type(form)(SpecialTokens.of([*MARKS, *ADDED], tokenizer.token_to_id))
    text = write(form, [("get_price", {"code": "A", "count": 1}), ("get_price", {"code": "B", "count": 2})], tools)
    assert accepts(tokenizer, form.grammar_rules(tools, parallel=True), "calls", text)
    assert not accepts(tokenizer, form.grammar_rules(tools, parallel=False), "calls", text)


def test_a_call_begins_as_its_opening(form: CallForm) -> None:
    text = write(form, [("get_price", {"text": "A"})], TOOLS)
    assert text.startswith(form.opening(None))
    assert text.startswith(form.opening("get_price"))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (
            "<|tool_call_start|>[f(a=\"x\", b=[1, True], c={'d': None})]<|tool_call_end|>",
            {"a": "x", "b": [1, True], "c": {"d": None}},
        ),
        ("<|tool_call_start|>[f(a='\\u4e2d\\x41\\t')]", {"a": "中A\t"}),
        ("<|tool_call_start|>[f()]<|tool_call_end|>", {}),
    ],
)
def test_what_lfm2_writes_of_itself_is_read(text: str, arguments: dict[str, Any]) -> None:
    """Its maker's examples have strings in both kinds of quotation marks."""
    calls = parse_answer(text, LfmForm()).calls
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("f", arguments)]


@pytest.mark.parametrize("mark", ["<|call|>", "<|end|>", ""])
@pytest.mark.parametrize("constraint", ["json", "<|constrain|>json", ""])
def test_harmony_tells_reasoning_text_and_calls_apart(mark: str, constraint: str) -> None:
    """Also with the recipient behind the channel, where gpt-oss writes it by itself."""
    text = (
        "<|channel|>analysis<|message|>Prices are looked up.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "Let me look.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
        f'{constraint}<|message|>{{"a": 1}}{mark}'
    )
    for pieces in ([text], list(text)):
        reader = HarmonyForm().new_reader()
        read = [*(event for piece in pieces for event in reader.feed(piece)), *reader.finish(cut_off=False)]
        assert collect_answer(read) == Answer("Let me look.", [Call("f", '{"a": 1}')])
        assert "".join(event.text for event in read if isinstance(event, ReasoningText)) == "Prices are looked up."
        for event in read:
            if isinstance(event, VisibleText):
                assert text[event.start :].startswith(event.text)
