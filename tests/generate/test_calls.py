"""Definitions → calls: all that the schema allows and nothing else, in words that hold the values."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import luthier
from generate.conftest import run_with
from generate.teacher_server import TeacherServer
from luthier.data.check.file_check import check_file
from luthier.generate.errors import OptionsError
from luthier.generate.functions.call_spec import CallSpec
from luthier.generate.functions.definitions import FunctionDefinition, detect_language, read_definitions
from luthier.generate.functions.enumerate import take_invocations
from luthier.generate.functions.grounding import chinese_number, missing_values
from luthier.generate.functions.run import generate_calls, generate_calls_from_templates
from luthier.generate.functions.values import UserContent, number_values, read_user_content, value_pool
from luthier.generate.journal import Journal
from luthier.generate.run import GenerationResult, TeacherOptions

pytestmark = pytest.mark.services

EXAMPLES = Path(luthier.__file__).parent / "examples"
LEAVE = EXAMPLES / "leave_letter.functions.json"
HOME = EXAMPLES / "smart_home.tools.json"
OWN = read_user_content(EXAMPLES / "leave_letter.values.json")
RICH = FunctionDefinition(
    "book",
    "Book a table.",
    {
        "type": "object",
        "properties": {
            "size": {"enum": ["small", "large"]},
            "outside": {"type": "boolean"},
            "guests": {"type": "integer", "minimum": 2, "maximum": 9},
            "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}$"},
            "name": {"type": "string"},
            "dates": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
            "note": {"const": "none"},
        },
        "required": ["size", "guests"],
        "additionalProperties": False,
    },
)


def spec(path: Path, count: int = 60, own: UserContent | None = None, **options: Any) -> CallSpec:
    definitions = read_definitions(path)
    return CallSpec(
        tuple(definitions), count, 1, detect_language(definitions), user_content=own or UserContent(), **options
    )


def plain(spec: CallSpec) -> GenerationResult:
    return asyncio.run(generate_calls_from_templates(spec))


def called(line: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    last = line["messages"][-1]
    calls = [call["function"] for call in last.get("tool_calls", [])] or [last["function_call"]]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


def test_invocations_satisfy_the_schema_and_go_through_every_choice() -> None:
    names = ["guests", "code", "name", "dates"]
    pools = {name: value_pool(RICH, name, UserContent(), {}, 1, "en") for name in names}
    arguments = [call.arguments for call in take_invocations(RICH, pools, 1, 400)]
    assert len({json.dumps(values, sort_keys=True) for values in arguments}) == len(arguments) == 400
    validator = jsonschema.Draft202012Validator(RICH.parameters)
    assert all(validator.is_valid(values) for values in arguments)
    combined = {(values["size"], values.get("outside")) for values in arguments}
    assert combined == set(product(["small", "large"], [None, True, False]))
    assert {2, 9} <= {values["guests"] for values in arguments}
    optional = Counter(tuple(sorted(set(values) - {"size", "guests"})) for values in arguments)
    assert len(optional) == 2**5


def test_too_many_combinations_are_sampled() -> None:
    properties = {f"p{n}": {"enum": list(range(9))} for n in range(9)}
    wide = FunctionDefinition("wide", "", {"type": "object", "properties": properties, "required": list(properties)})
    calls = take_invocations(wide, {}, 1, 50)
    assert len({call.key for call in calls}) == 50
    assert take_invocations(wide, {}, 1, 50) == calls != take_invocations(wide, {}, 2, 50)


def test_all_that_there_is_comes_once() -> None:
    small = FunctionDefinition(
        "small", "", {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    )
    assert [call.arguments for call in take_invocations(small, {}, 1, 99)] in ([{"on": True}, {"on": False}],
                                                                  [{"on": False}, {"on": True}])  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 1, "maximum": 3},
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 100, "multipleOf": 5},
        {"type": "number", "minimum": 0.5},
        {"type": "integer", "maximum": -3},
        {"type": "number"},
        {"type": ["integer", "null"], "minimum": 7, "maximum": 7},
        {"type": "number", "minimum": 0.01, "maximum": 0.2},
        {"type": "number", "minimum": 0.3, "maximum": 0.3},
    ],
)
def test_numbers_fit_their_bounds(schema: dict[str, Any]) -> None:
    values = number_values(schema, random.Random(1))
    assert values
    for value in values:
        jsonschema.validate(value, schema)
    for bound in ("minimum", "maximum"):
        assert schema.get(bound, values[0]) in values


def test_a_narrow_range_has_short_numbers_and_one_without_a_multiple_none() -> None:
    assert number_values({"type": "number", "exclusiveMinimum": 0, "maximum": 0.2}, random.Random(1)) == [
        0.2, 0.03, 0.07, 0.1, 0.13, 0.17,
    ]  # fmt: skip
    size = {"type": "integer", "multipleOf": 4, "minimum": 5, "maximum": 6}
    nothing = FunctionDefinition("f", "", {"type": "object", "properties": {"size": size}, "required": ["size"]})
    with pytest.raises(OptionsError, match="No values are known for size of f"):
        plain(CallSpec((nothing,), 10, 1, "en"))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("我要请三天假", {"days": 3}),
        ("请两天假", {"days": 2}),
        ("请十五天", {"days": 15}),
        ("每月投1万元", {"amount": 10000}),
        ("每月投 10,000 元", {"amount": 10000}),
        ("set it to 21.5 degrees", {"celsius": 21.5}),
        ("for twenty-one guests", {"guests": 21}),
        ("In the Living Room, please", {"room": "living room"}),
        ("Ｒ２级", {"risk": "R2"}),
        ("unlock it", {"locked": False}),
        ("milk and bread", {"items": ["milk", "bread"]}),
    ],
)
def test_values_that_were_said(text: str, arguments: dict[str, Any]) -> None:
    assert missing_values(text, arguments) == []


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("我要请假", {"days": 3}),
        ("请二十三天假", {"days": 3}),
        ("set it to 215", {"celsius": 21}),
        ("in the kitchen", {"room": "living room"}),
        ("milk only", {"items": ["milk", "bread"]}),
    ],
)
def test_values_that_were_not_said(text: str, arguments: dict[str, Any]) -> None:
    assert missing_values(text, arguments) == list(arguments)


def test_chinese_numerals() -> None:
    assert [chinese_number(n) for n in (0, 2, 10, 11, 20, 35, 99)] == [
        "零",
        "二",
        "十",
        "十一",
        "二十",
        "三十五",
        "九十九",
    ]


@pytest.mark.parametrize("form", ["tools", "functions"])
@pytest.mark.parametrize("with_definitions", [True, False])
@pytest.mark.parametrize("path", [LEAVE, HOME], ids=["zh", "en"])
def test_every_form_without_a_teacher_checks_clean_and_is_grounded(
    tmp_path: Path, form: Any, with_definitions: bool, path: Path
) -> None:
    own = OWN if path == LEAVE else None
    outcome = plain(spec(path, 60, own, form=form, with_definitions=with_definitions, system="Call a function."))
    assert outcome.report["made"] == 60
    written = tmp_path / "calls.jsonl"
    written.write_text("".join(json.dumps(line) + "\n" for line in outcome.examples))
    report = check_file(written)
    assert report.ok, report.findings
    assert not [f for f in report.findings if f.severity != "note"]
    schemas = {
        definition.name: jsonschema.Draft202012Validator(definition.parameters) for definition in read_definitions(path)
    }
    for line in outcome.examples:
        assert (form in line) is with_definitions
        user, last = line["messages"][-2]["content"], line["messages"][-1]
        if last["content"] is not None:
            continue
        for name, arguments in called(line):
            schemas[name].validate(arguments)
            assert missing_values(user, arguments) == []
            assert not with_definitions or name in json.dumps(line[form])


def test_the_leave_letter_set_is_varied_and_asks_back() -> None:
    outcome = plain(spec(LEAVE, 200, OWN, form="functions"))
    assert outcome.report["made"] == 200
    assert outcome.report["by_kind"]["no_call"]["made"] == 24
    users = [line["messages"][0]["content"] for line in outcome.examples]
    assert len(set(users)) == 200
    asked_back = next(
        line for line in outcome.examples if line["messages"][0]["content"].startswith("帮我写请假信，我是")
    )
    assert asked_back["messages"][1]["content"] in (
        "请告诉我职位、请假原因和请假天数。",
        "还需要职位、请假原因和请假天数，请补充一下。",
    )
    assert "No teacher" in outcome.report["worth"]


def test_a_wish_whose_function_is_taken_away_is_not_called_for() -> None:
    outcome = plain(spec(HOME, 100))
    fewer = [line for line in outcome.examples if len(line["tools"]) < 6]
    assert len(fewer) == 4
    for line in fewer:
        assert line["messages"][-1]["content"].startswith("I cannot do that")
    several = [line for line in outcome.examples if len(line["messages"][-1].get("tool_calls", [])) == 2]
    assert len(several) == 8
    assert all(len({json.dumps(call) for call in called(line)}) == 2 for line in several)


Calls = Callable[[CallSpec], GenerationResult]


@pytest.fixture
def calls(server: TeacherServer, journal: Journal, notifications: list[str]) -> Calls:
    def make(spec: CallSpec) -> GenerationResult:
        return run_with(
            server,
            lambda client: generate_calls(
                client, TeacherOptions("t"), spec, journal, progress=lambda *_: None, notify=notifications.append
            ),
        )

    return make


@pytest.mark.parametrize("structured", [True, False])
def test_a_teacher_phrases_and_is_checked(server: TeacherServer, calls: Calls, structured: bool) -> None:
    server.structured = structured
    outcome = calls(spec(HOME, 40))
    assert outcome.report["made"] == 40
    for line in outcome.examples:
        if line["messages"][-1]["content"] is None:
            for _, arguments in called(line):
                assert missing_values(line["messages"][0]["content"], arguments) == []
    paid = server.paid
    again = calls(spec(HOME, 40))
    assert again.examples == outcome.examples
    assert server.paid == paid


def test_phrasings_without_their_values_are_rejected_and_asked_again(server: TeacherServer, calls: Calls) -> None:
    server.fault(") — ", times=1, text='{"items": [{"number": 1, "text": "Lights, please."}]}')
    outcome = calls(spec(HOME, 40))
    assert outcome.report["made"] == 40
    assert outcome.report["rejected"]["value_missing"] == 1
    (reject,) = [line for line in outcome.rejects if line["reason"] == "value_missing"]
    assert reject["user"] == "Lights, please."
    assert "Lights, please." not in json.dumps(outcome.examples)


def test_the_teacher_is_asked_for_values_that_nobody_knows(server: TeacherServer, calls: Calls, tmp_path: Path) -> None:
    path = tmp_path / "defs.json"
    path.write_text(json.dumps({"functions": [{"name": "f", "description": "Find a gadget.", "parameters": {
        "type": "object", "properties": {"gizmo": {"type": "string"}}, "required": ["gizmo"]}}]}))  # fmt: skip
    with pytest.raises(OptionsError, match="No values are known for gizmo of f"):
        plain(spec(path, 10))
    outcome = calls(spec(path, 10))
    assert outcome.report["made"] == 10
    assert sum("gizmo" in body["messages"][-1]["content"] and "20 different values" in body["messages"][-1]["content"]
               for body in server.requests) == 1  # fmt: skip


NO_CALL = "none of them should be called"


def no_call_requests(server: TeacherServer) -> list[dict[str, Any]]:
    return [body for body in server.requests if NO_CALL in body["messages"][-1]["content"]]


def test_messages_without_a_call_are_asked_for_in_batches(server: TeacherServer, calls: Calls) -> None:
    """A service with a limit of 4096 tokens would refuse them all at once."""
    server.fault(lambda body: body["max_tokens"] > 4096, times=99, status=400)
    outcome = calls(spec(HOME, 300, with_definitions=False))
    assert outcome.report["by_kind"]["no_call"] == {"wanted": 36, "made": 36}
    take_invocations, second = no_call_requests(server)[:2]
    existing = [line for line in second["messages"][-1]["content"].split("\n") if line.endswith("?")]
    assert "exist already" not in take_invocations["messages"][-1]["content"]
    assert len(existing) == 20


def test_a_batch_that_fails_leaves_the_others(server: TeacherServer, calls: Calls) -> None:
    server.fault(lambda body: "exist already" in str(body), times=99, status=400)
    outcome = calls(spec(HOME, 300, with_definitions=False))
    assert outcome.report["by_kind"]["no_call"] == {"wanted": 36, "made": 20}
    assert outcome.report["made"] == 300
    assert outcome.report["rejected"]["request_failed"] == 3


def test_a_run_that_stops_keeps_the_batches_before(server: TeacherServer, calls: Calls) -> None:
    server.fault(lambda body: "exist already" in str(body), times=99, status=401)
    outcome = calls(spec(HOME, 300, with_definitions=False))
    assert outcome.report["by_kind"]["no_call"]["made"] == 20
    assert outcome.stopped


def test_values_that_were_given_up_stay_so_and_nothing_is_paid_twice(server: TeacherServer, calls: Calls) -> None:
    server.fault("20 different values", times=6, status=500)
    definition = FunctionDefinition("f", "Find a city.", {"type": "object", "properties": {"city": {"type": "string"}},
                                                  "required": ["city"]})  # fmt: skip
    spec = CallSpec((definition,), 10, 1, "en")
    outcome = calls(spec)
    paid = server.paid
    again = calls(spec)
    assert again.examples == outcome.examples
    assert server.paid == paid


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "cannot be read"),
        ("[]", "contains no function definitions"),
        ('[{"name": "a b"}]', "definition 1: it needs a name"),
        ('[{"name": "a", "parameters": {"type": "objekt"}}]', "definition 1: parameters"),
        ('[{"name": "a", "parameters": {"type": "array"}}]', "must be an object"),
        ('[{"name": "a", "parameters": {"type": "object", "required": ["x"]}}]', "required but not defined"),
        ('[{"name": "a"}, {"name": "a"}]', "defines a twice"),
        (
            '[{"name": "a", "parameters": {"type": "object", "properties": {"x": {"$ref": "#/no"}}}}]',
            "cannot be resolved",
        ),
        (
            '[{"name": "a", "parameters": {"type": "object", "properties": {"x": {"$ref": "#/properties/x"}}}}]',
            "cannot be resolved",
        ),
    ],
)
def test_definitions_that_cannot_be_used_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "defs.json"
    path.write_text(content)
    with pytest.raises(OptionsError, match=message):
        read_definitions(path)


@pytest.mark.parametrize("template", ["{name", "{nobody}", "{} {name}"])
def test_own_phrasings_that_cannot_be_filled_in_are_named(template: str) -> None:
    with pytest.raises(OptionsError, match="is not one of its parameters"):
        plain(spec(LEAVE, 10, UserContent(phrasings={"write_leave_letter": [template]})))


def test_references_and_alternatives_are_followed(tmp_path: Path) -> None:
    """As pydantic writes a model with an enum and an optional number."""
    parameters = {
        "$defs": {"Size": {"enum": ["small", "large"], "type": "string"}},
        "type": "object",
        "properties": {"size": {"$ref": "#/$defs/Size"}, "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["size", "days"],
    }
    path = tmp_path / "defs.json"
    path.write_text(json.dumps([{"name": "f", "description": "Book a box.", "parameters": parameters}]))
    outcome = plain(spec(path, 20))
    arguments = [
        call_arguments
        for line in outcome.examples
        if not line["messages"][-1]["content"]
        for _, call_arguments in called(line)
    ]
    assert {call_arguments["size"] for call_arguments in arguments} == {"small", "large"}
    assert all(isinstance(call_arguments["days"], int) for call_arguments in arguments)
    assert "$ref" not in json.dumps(outcome.examples)
