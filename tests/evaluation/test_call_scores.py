"""Verdicts on calls, each worked out by hand, in English and Chinese."""

import json
from typing import Any

import pytest

from luthier.data.examples.example import Example
from luthier.data.examples.tool_definitions import Definitions, as_shown, collect, slim
from luthier.evaluation.tool_call_match import Expected, Predicted, Verdict, judge, same

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
DEFINITIONS = Definitions([LEAVE, PING])


def wanted(function: str = "write_leave_letter", /, acceptable: Any = None, **arguments: Any) -> Expected:
    return Expected(function, arguments, acceptable)


def said(function: str = "write_leave_letter", /, **arguments: Any) -> Predicted:
    return Predicted.read(function, json.dumps(arguments))


def verdict(expected: list[Expected], predicted: list[Predicted], content: str | None = None) -> Verdict:
    return judge(expected, predicted, content, DEFINITIONS)


def test_the_right_call() -> None:
    found = verdict([wanted(name="王芳", days=3)], [said(days=3.0, name=" 王芳")])
    assert found.exact
    assert found.match
    assert found.arguments_exact
    assert (found.calls, found.json_valid, found.schema_valid) == (1, 1, 1)
    assert (found.found, found.said, found.wanted) == (2, 2, 2)


@pytest.mark.parametrize(
    ("value", "other", "exact", "match"),
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
def test_values_strict_and_lenient(value: Any, other: Any, exact: bool, match: bool) -> None:
    found = verdict([wanted("ping", x=value)], [said("ping", x=other)])
    assert (found.exact, found.match) == (exact, match)
    assert same(value, other) == exact


def test_a_call_where_none_was_wanted_and_the_other_way_round() -> None:
    too_many = verdict([], [said("ping")])
    assert (too_many.wanted_call, too_many.called, too_many.exact) == (False, True, False)
    none = verdict([wanted("ping")], [])
    assert (none.wanted_call, none.called, none.exact, none.names_right) == (True, False, False, False)
    text = verdict([], [], "我是金融助理")
    assert text.exact
    assert text.match
    assert not text.arguments_exact


def test_parallel_calls_pair_in_any_order() -> None:
    expected = [wanted("ping", city="北京"), wanted("ping", city="上海")]
    assert verdict(expected, [said("ping", city="上海"), said("ping", city="北京")]).exact
    assert not verdict(expected, [said("ping", city="上海"), said("ping", city="上海")]).exact
    assert not verdict(expected, [said("ping", city="上海")]).exact


def test_pairing_looks_beyond_the_first_that_fits() -> None:
    """The first expected call takes either prediction, the second only one of them."""
    either = wanted("ping", acceptable={"x": [1, 2]}, x=1)
    one = wanted("ping", x=1)
    assert verdict([either, one], [said("ping", x=1), said("ping", x=2)]).exact


def test_acceptable_values_and_what_may_be_left_out() -> None:
    allowed = {"city": ["Beijing", "北京"], "unit": ["C", ""]}
    expected = [wanted("ping", acceptable=allowed, city="北京")]
    assert verdict(expected, [said("ping", city="Beijing")]).exact
    assert verdict(expected, [said("ping", city="北京", unit="C")]).exact
    assert not verdict(expected, [said("ping", unit="C")]).exact
    assert not verdict(expected, [said("ping", city="北京", unit="F")]).exact


def test_an_optional_argument_left_out_is_not_exact() -> None:
    assert not verdict([wanted(name="a", days=1, kind="病假")], [said(name="a", days=1)]).exact


def test_how_a_schema_is_broken() -> None:
    calls = [
        said(name="a"),
        said(name="a", days="3"),
        said(name="a", days=3, kind="年假"),
        said(name="a", days=3, reason="x"),
        said(name="a", days=0),
        said("fly"),
        Predicted.read("ping", "{"),
        Predicted.read("ping", "[1]"),
        said("ping"),
    ]
    found = verdict([], calls)
    assert found.faults == {
        "missing_required": 1,
        "wrong_type": 1,
        "not_in_enum": 1,
        "unknown_argument": 1,
        "other": 1,
        "unknown_function": 1,
        "not_an_object": 2,
    }
    assert (found.calls, found.json_valid, found.schema_valid, found.unknown_functions) == (9, 7, 1, 1)


def test_calls_that_stayed_text_are_noticed() -> None:
    assert verdict([wanted("ping")], [], '<tool_call>\n{"name": "ping"').unparsed
    assert verdict([wanted("ping")], [], '{"name": "ping", "arguments": {}}').unparsed
    assert not verdict([wanted("ping")], [], "我叫 ping").unparsed


def test_confusion_names_both_sides() -> None:
    assert verdict([wanted(name="a", days=1)], [said("ping")]).confusion == ("write_leave_letter", "ping")
    assert verdict([], [said("ping")]).confusion == ("", "ping")


def test_slim_definitions_keep_names_and_types() -> None:
    (made,) = slim([LEAVE])
    assert made["function"] == {
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
    assert as_shown([LEAVE], "none") is None
    assert as_shown([LEAVE], "full") == [LEAVE]


def test_definitions_are_collected_over_examples() -> None:
    other = {"type": "function", "function": {"name": "ping", "description": "rare"}}
    examples = [
        Example([], [LEAVE, PING], None, None, 1),
        Example([], [other], None, None, 2),
        Example([], None, [PING["function"]], None, 3),
    ]
    assert collect(examples) == [LEAVE, PING]
