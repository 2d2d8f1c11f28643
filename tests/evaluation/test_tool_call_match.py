"""Verdicts on calls, each worked out by hand, in English and Chinese."""

import json
from typing import Any

import pytest

from luthier.data.examples.tool_definitions import FunctionSchemas, collect_definitions, slim, with_detail
from luthier.evaluation.tool_call_match import (
    ExpectedCall,
    Overlap,
    PredictedCall,
    ToolCallScore,
    json_equal,
    score_tool_calls,
)

LEAVE = {
    "type": "function",
    "function": {
        "name": "write_leave_letter",
        "description": "写请假条",
        "parameters": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "姓名"},
                "days": {"type": "integer", "minimum": 1},
                "kind": {"type": "string", "enum": ["病假", "事假"]},
                "description": {"type": "string"},
            },
            "required": ["name", "days"],
        },
    },
}
PING = {"type": "function", "function": {"name": "ping"}}
DEFINITIONS = FunctionSchemas([LEAVE, PING])


def expected_call(function: str = "write_leave_letter", /, acceptable: Any = None, **arguments: Any) -> ExpectedCall:
    return ExpectedCall(function, arguments, acceptable)


def predicted_call(function: str = "write_leave_letter", /, **arguments: Any) -> PredictedCall:
    return PredictedCall.parse(function, json.dumps(arguments))


def score(expected: list[ExpectedCall], predicted: list[PredictedCall], content: str | None = None) -> ToolCallScore:
    return score_tool_calls(expected, predicted, content, DEFINITIONS)


def test_the_right_call() -> None:
    result = score([expected_call(name="王芳", days=3)], [predicted_call(days=3.0, name=" 王芳")])
    assert result.exact
    assert result.lenient
    assert result.arguments_exact
    assert (result.validity.calls, result.validity.valid_json, result.validity.valid_schema) == (1, 1, 1)
    assert result.argument_overlap == Overlap(common=2, predicted=2, expected=2)


@pytest.mark.parametrize(
    ("value", "other", "exact", "lenient"),
    [
        ("Paris, France", "paris france", False, True),
        ("张三（研发部）", "张三(研发部)", True, True),
        ("请假三天。", "请假三天", False, True),
        ("２０２６", "2026", True, True),
        (3, "3", False, False),
        (True, 1, False, False),
        (1, 1.0, True, True),
        ([1, 2], [2, 1], False, False),
        ({"a": 1, "b": "x"}, {"b": "X", "a": 1}, False, True),
        (None, "", False, False),
    ],
)
def test_values_strict_and_lenient(value: Any, other: Any, exact: bool, lenient: bool) -> None:
    result = score([expected_call("ping", x=value)], [predicted_call("ping", x=other)])
    assert (result.exact, result.lenient) == (exact, lenient)
    assert json_equal(value, other) == exact


def test_a_call_where_none_was_wanted_and_the_other_way_round() -> None:
    too_many = score([], [predicted_call("ping")])
    assert (too_many.expects_call, too_many.has_call, too_many.exact) == (False, True, False)
    none = score([expected_call("ping")], [])
    assert (none.expects_call, none.has_call, none.exact, none.names_match) == (True, False, False, False)
    text = score([], [], "我是金融助理")
    assert text.exact
    assert text.lenient
    assert not text.arguments_exact


def test_parallel_calls_pair_in_any_order() -> None:
    expected = [expected_call("ping", city="北京"), expected_call("ping", city="上海")]
    assert score(expected, [predicted_call("ping", city="上海"), predicted_call("ping", city="北京")]).exact
    assert not score(expected, [predicted_call("ping", city="上海"), predicted_call("ping", city="上海")]).exact
    assert not score(expected, [predicted_call("ping", city="上海")]).exact


def test_pairing_looks_beyond_the_first_that_fits() -> None:
    """The first expected call takes either prediction, the second only one of them."""
    either = expected_call("ping", acceptable={"x": [1, 2]}, x=1)
    only_one = expected_call("ping", x=1)
    assert score([either, only_one], [predicted_call("ping", x=1), predicted_call("ping", x=2)]).exact


def test_acceptable_values_and_what_may_be_left_out() -> None:
    allowed = {"city": ["Beijing", "北京"], "unit": ["C", ""]}
    expected = [expected_call("ping", acceptable=allowed, city="北京")]
    assert score(expected, [predicted_call("ping", city="Beijing")]).exact
    assert score(expected, [predicted_call("ping", city="北京", unit="C")]).exact
    assert not score(expected, [predicted_call("ping", unit="C")]).exact
    assert not score(expected, [predicted_call("ping", city="北京", unit="F")]).exact


def test_an_optional_argument_left_out_is_not_exact() -> None:
    assert not score([expected_call(name="a", days=1, kind="病假")], [predicted_call(name="a", days=1)]).exact


def test_how_a_schema_is_broken() -> None:
    calls = [
        predicted_call(name="a"),
        predicted_call(name="a", days="3"),
        predicted_call(name="a", days=3, kind="年假"),
        predicted_call(name="a", days=3, reason="x"),
        predicted_call(name="a", days=0),
        predicted_call("fly"),
        PredictedCall.parse("ping", "{"),
        PredictedCall.parse("ping", "[1]"),
        predicted_call("ping"),
    ]
    result = score([], calls)
    assert result.schema_errors == {
        "missing_required": 1,
        "wrong_type": 1,
        "not_in_enum": 1,
        "unknown_argument": 1,
        "other": 1,
        "unknown_function": 1,
        "not_an_object": 2,
    }
    validity = result.validity
    assert (validity.calls, validity.valid_json, validity.valid_schema, validity.unknown_functions) == (9, 7, 1, 1)


def test_calls_that_stayed_text_are_noticed() -> None:
    assert score([expected_call("ping")], [], '<tool_call>\n{"name": "ping"').unparsed
    assert score([expected_call("ping")], [], '{"name": "ping", "arguments": {}}').unparsed
    assert not score([expected_call("ping")], [], "我叫 ping").unparsed


def test_confusion_names_both_sides() -> None:
    assert score([expected_call(name="a", days=1)], [predicted_call("ping")]).confusion == (
        "write_leave_letter",
        "ping",
    )
    assert score([], [predicted_call("ping")]).confusion == ("", "ping")


def test_slim_definitions_keep_names_and_types() -> None:
    (tool,) = slim([LEAVE])
    assert tool["function"] == {
        "name": "write_leave_letter",
        "parameters": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "days": {"type": "integer", "minimum": 1},
                "kind": {"type": "string", "enum": ["病假", "事假"]},
                "description": {"type": "string"},
            },
            "required": ["name", "days"],
        },
    }
    assert with_detail([LEAVE], "none") is None
    assert with_detail([LEAVE], "full") == [LEAVE]


def test_definitions_are_collected_over_examples() -> None:
    other = {"type": "function", "function": {"name": "ping", "description": "rare"}}
    assert collect_definitions([[LEAVE, PING], [other], [PING]]) == [LEAVE, PING]
