"""A base's own template is used while nothing is lost in it; conversations are served as they were trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.catalogue.abilities import abilities, ability_rows, ability_text, calls_text
from luthier.data.examples.example import Example
from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.renderer import Renderer
from luthier.types.errors import RenderError
from templates import (
    CALLS_LISTED,
    CALLS_NAMED,
    ENDS_CONVERSATIONS,
    MARKS,
    MISTRAL_MARKS,
    NO_END,
    NO_FUNCTIONS,
    REASONS,
    SWITCHES,
    trained_text,
    write_base,
)

FAMILIES = {
    "no functions": NO_FUNCTIONS,
    "ends conversations": ENDS_CONVERSATIONS,
    "reasons": REASONS,
    "switches": SWITCHES,
    "no end": NO_END,
    "calls listed": CALLS_LISTED,
    "calls named": CALLS_NAMED,
}
ALL_MARKS = (*MARKS, *MISTRAL_MARKS)
PARAMETERS = {"type": "object", "properties": {"code": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_price", "parameters": PARAMETERS}}]


@pytest.fixture(scope="module", params=FAMILIES)
def renderer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(write_base(tmp_path_factory.mktemp("base"), FAMILIES[request.param], ALL_MARKS))


@pytest.mark.parametrize(("template", "form"), [(CALLS_LISTED, "mistral-list"), (CALLS_NAMED, "mistral")])
def test_a_form_that_reads_back_what_the_template_writes_is_chosen(template: str, form: str, tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", template, MISTRAL_MARKS))
    assert (renderer.call_form.name, renderer.choice.lost, renderer.choice.composed) == (form, (), True)


def call(code: str, number: int = 1) -> dict[str, Any]:
    function = {"name": "get_price", "arguments": json.dumps({"code": code})}
    calls = [{"id": f"c{number}", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def conversation() -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "How much is A?"},
        call("A"),
        {"role": "tool", "tool_call_id": "c1", "content": "12"},
        {"role": "assistant", "content": "It is 12."},
        {"role": "user", "content": "And B?"},
        call("B", 2),
        {"role": "tool", "tool_call_id": "c2", "content": "13"},
        {"role": "assistant", "content": "It is 13."},
    ]


def test_no_call_is_lost(renderer: Renderer) -> None:
    messages = conversation()
    text = renderer.decode(renderer.example(Example(messages, TOOLS)).ids)
    assert all(part in text for part in ("Be short.", '"get_price"', "How much is A?", "12", "13", "It is 13."))
    trained = trained_text(renderer, Example(messages[:3], TOOLS))
    answer = parse_answer(trained, renderer.call_form, TOOLS)
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == [("get_price", {"code": "A"})]


def test_the_prompt_of_every_answer_is_what_was_trained(renderer: Renderer) -> None:
    """Token by token: training sees each prompt exactly as serving sends it."""
    messages = conversation()
    ids = renderer.example(Example(messages, TOOLS)).ids
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = renderer.prompt(messages[:index], TOOLS)
            assert ids[: len(prompt)] == prompt


def test_answers_are_trained_with_a_token_that_ends_them_and_nothing_before(renderer: Renderer) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Yes."}]
    trained = trained_text(renderer, Example(messages))
    assert trained.startswith("Yes.")
    assert renderer._encode(trained)[-1] in renderer.stop_ids


def test_a_template_of_an_adapter_is_read_as_it_was_chosen(renderer: Renderer, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "unused", ALL_MARKS)
    (tmp_path / "stored.jinja").write_text(renderer.template.text, encoding="utf-8")
    example = Example(conversation(), TOOLS)
    assert Renderer(base, tmp_path / "stored.jinja").example(example) == renderer.example(example)


@pytest.mark.parametrize("template", [REASONS, SWITCHES])
def test_reasoning_is_trained_where_the_data_has_it_and_is_off_elsewhere(template: str, tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", template))
    answer = {"role": "assistant", "content": "Yes."}
    plain = [{"role": "user", "content": "q"}, answer]
    prompt = renderer.decode(renderer.prompt(plain[:1]))
    assert prompt.endswith("<think>\n\n</think>\n\n")
    reasoned = [plain[0], {**answer, "reasoning_content": "because"}]
    trained = trained_text(renderer, Example(reasoned))
    assert trained.removeprefix("<think>\n") == "because\n</think>\n\nYes.<end>"
    ids = renderer.example(Example(reasoned)).ids
    thinking = renderer.prompt(plain[:1], thinking=True)
    assert ids[: len(thinking)] == thinking


def test_reasoning_that_a_template_has_no_place_for_is_refused(tmp_path: Path) -> None:
    own_functions = write_base(tmp_path / "base", ENDS_CONVERSATIONS.replace("message.content", "message['content']"))
    renderer = Renderer(own_functions)
    stored = tmp_path / "stored.jinja"
    stored.write_text(ENDS_CONVERSATIONS, encoding="utf-8")
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]
    assert "r\n</think>" in trained_text(renderer, Example(messages))  # Luthier's form has a place for it
    with pytest.raises(RenderError, match="no place for reasoning_content"):
        Renderer(own_functions, stored).example(Example(messages))


def test_what_an_adapter_loses_by_its_stored_template_is_refused_by_message(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "unused")
    (tmp_path / "stored.jinja").write_text(ENDS_CONVERSATIONS, encoding="utf-8")
    messages = conversation()[1:3]
    with pytest.raises(RenderError, match="Message 2: the call of get_price cannot be read back"):
        Renderer(base, tmp_path / "stored.jinja").example(Example(messages, TOOLS))


def test_a_template_that_goes_through_definitions_unasked_is_read() -> None:
    """Hermes 3 and DeepSeek V3.1 take an empty list, and fail on none."""
    listing = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ messages[0].content }}"
    telling = "{{ 'none' if tools is none else 'some' }}"
    question = [{"role": "user", "content": "a"}]
    assert Template(listing, {}).render(question, None) == "a"
    assert Template(listing, {}).render(question, [{"x": 1}]) == '{"x": 1}a'
    assert Template(telling, {}).render(question, None) == "none"


def test_a_stray_generation_mark_is_read(tmp_path: Path) -> None:
    template = ENDS_CONVERSATIONS.replace("{{ '<|assistant", "{% generation %}{% endgeneration %}{{ '<|assistant")
    assert "q" in Renderer(write_base(tmp_path / "b", template)).decode(
        Renderer(tmp_path / "b").prompt([{"role": "user", "content": "q"}])
    )


def test_a_vocabulary_of_deepseeks_keeps_its_form_of_calls(tmp_path: Path) -> None:
    """Its makers' templates write no definitions and lose calls."""
    marks = ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep")
    special = (*MARKS, *(f"<｜tool▁{mark}｜>" for mark in marks))
    renderer = Renderer(write_base(tmp_path / "base", ENDS_CONVERSATIONS, special))
    assert (renderer.call_form.name, renderer.choice.lost) == ("deepseek", ("definition", "call"))
    trained = trained_text(renderer, Example(conversation()[:3], TOOLS))
    assert trained.startswith("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_price\n```json\n{")
    assert calls_text(renderer.choice).startswith("deepseek, with Luthier's template")


@pytest.mark.parametrize(
    ("template", "calls", "turns", "reasoning"),
    [
        (NO_FUNCTIONS, "Luthier's own (its template loses: definition, call)", "as its own template writes them", True),
        (SWITCHES, "Luthier's own (its template loses: definition, call)", "rendered turn by turn", True),
    ],
)
def test_what_a_base_can_do(template: str, calls: str, turns: str, reasoning: bool, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", template)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = {"model_type": "mistral", "vocab_size": 300, **sizes, "max_position_embeddings": 1024}
    (base / "config.json").write_text(json.dumps(config | {"sliding_window": 256}))
    able = {"parallel_calls": True, "reasoning": reasoning, "context_tokens": 1024, "window_tokens": 256}
    of_tokenizer = {"tokens_per_chinese_character": 3.0}  # a token per byte
    assert abilities(base) == {"training": "packed", "calls": calls, "turns": turns} | able | of_tokenizer
    text = ability_text(abilities(base))
    assert "Training: packed. Calls: Luthier's own" in text
    assert "Context: 1,024 tokens, window 256. Chinese: 3 tokens per character." in text
    in_chinese = {row.code: (row.name, row.text) for row in ability_rows(abilities(base, language="zh"), "zh")}
    assert (in_chinese["training"], in_chinese["reasoning"]) == (("训练方式", "打包"), ("推理内容", "支持"))
    (base / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    assert "no usable tokenizer or chat template" in abilities(base)["unusable"]
    assert ability_text(abilities(base)).startswith("It cannot be used: The base model")
