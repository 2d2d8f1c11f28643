"""Templates reach the item and the sample, and nothing else."""

import pytest

from luthier.evaluation.graders import Sample
from luthier.evaluation.graders.failures import GraderFailure
from luthier.evaluation.graders.templates import fill, template_error

CALL = {"id": "call_1", "type": "function", "function": {"name": "turn_on", "arguments": '{"room": "客厅"}'}}
SAMPLE = Sample('{"city": "北京", "temps": [1, 2.5, null]}', [CALL])
ITEM = {"label": "北京", "a b": {"c.d": [True]}, "list": [["x"], "y"]}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("no template, {one} brace", "no template, {one} brace"),
        ("{{item.label}} is {{ sample.output_json.city }}", "北京 is 北京"),
        ("{{sample.output_json.temps[1]}}{{sample.output_json.temps[2]}}", "2.5null"),
        ("{{sample.output_json.temps.0}}", "1"),
        ("{{sample.output_json}}", '{"city": "北京", "temps": [1, 2.5, null]}'),
        ("{{sample.output_tools[0].function.name}}", "turn_on"),
        ("{{sample.choices[0].message.tool_calls[0].function.arguments}}", '{"room": "客厅"}'),
        ("{{sample.choices[0].message.content}}", SAMPLE.text),
        ("{{item['a b']['c.d'][0]}}", "true"),
        ("{{item.list[0][0]}}{{item.list[-1]}}", "xy"),
    ],
)
def test_filled(template: str, text: str) -> None:
    assert fill(template, SAMPLE, ITEM) == text


def test_a_text_full_of_braces_is_read_quickly() -> None:
    text = "{{" * 500_000
    assert fill(text, SAMPLE, ITEM) == text


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("{{item.x}}", SAMPLE, {"x": "{{item.x}}"}) == "{{item.x}}"


@pytest.mark.parametrize(
    "path",
    ["item.nope", "item.label.x", "item.list[9]", "item.list.x", "other.x", "item", "", "item.__class__",
     "item.label.__class__", "sample.nope", "item.label|upper", "item.label()", "item..label", "item[label]"],
)  # fmt: skip
def test_what_is_not_there(path: str) -> None:
    with pytest.raises(GraderFailure) as caught:
        fill("{{" + path + "}}", SAMPLE, ITEM)
    assert caught.value.flags == {"invalid_variable_error": True}


@pytest.mark.parametrize(
    "text",
    ["{{item.q", "{{item.q}", "{{ item.q } }", "{{", "{{item.a}} and {{item.b", "{{item.a and {{item.b}}",
     "a {{b}} {{c",
     "{{item['a'", "{{sample.output_text", "{{item.q} as {\"a\": {\"b\": 1}}", "{{item." + "a" * 600 + "}}"],
)  # fmt: skip
def test_a_template_that_is_not_closed(text: str) -> None:
    assert template_error(text) == "a '{{' has no '}}'"


@pytest.mark.parametrize(
    "text",
    ["", "text", "{item.q}", "{{item.q}}", "{{{item.q}}}", '{"a": {"b": 1}}', '{"a": {"b": "{{item.q}}"}}',
     '{{"a": {{item.q}}}}', "{{ item.q }}{{sample.output_text}}", "}}", "{" + "{{item.q}}" + "{"],
)  # fmt: skip
def test_braces_that_are_no_open_template(text: str) -> None:
    assert template_error(text) is None


def test_a_text_full_of_braces_is_checked_quickly() -> None:
    for text in ("{{" * 500_000, "{{item." * 150_000, "{{}}" * 250_000, "{{" + " " * 1_000_000):
        assert template_error(text)


@pytest.mark.parametrize("text", ["no JSON", "", "[" * 100_000])
def test_a_sample_that_is_no_json(text: str) -> None:
    with pytest.raises(GraderFailure) as caught:
        fill("{{sample.output_json.x}}", Sample(text), {})
    assert caught.value.flags == {"sample_parse_error": True}


@pytest.mark.parametrize("value", ["a" * 100_000, ["a" * 1000] * 100], ids=["text", "JSON"])
def test_a_small_template_does_not_become_a_large_text(value: object) -> None:
    with pytest.raises(GraderFailure, match="1,000,000 characters") as caught:
        fill("{{item.a}}" * 20_000, SAMPLE, {"a": value})
    assert caught.value.flags == {"other_error": True}
