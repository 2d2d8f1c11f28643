"""Evals without a server: samples as graders see them, requests to the model, verdicts, schemas of items."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from luthier.evaluation.evals.criteria import grade_criterion, pass_threshold
from luthier.evaluation.evals.rows import item_problem, row_of, row_of_response
from luthier.evaluation.evals.sampling import sample_request
from luthier.evaluation.graders import GraderContext, GraderFailure, ModelReply, Sample
from luthier.types.eval_sources import DataSource, JsonlDataSource
from luthier.types.graders import SubGrader, TokenUsage

_CRITERION: TypeAdapter[Any] = TypeAdapter(SubGrader)
_SOURCE: TypeAdapter[Any] = TypeAdapter(DataSource)
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
_TURNS = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": None, "tool_calls": [_CALL]}]


def _check(template: str, reference: str = "{{item.answer}}", **fields: Any) -> Any:
    grader = {"type": "string_check", "name": "same", "input": template, "reference": reference, "operation": "eq"}
    return _CRITERION.validate_python({**grader, **fields})


@pytest.mark.parametrize(
    ("answer", "template", "score"),
    [
        ({"output_text": "北京"}, "{{sample.output_text}}", 1),
        ({"choices": [{"message": {"content": "北京"}}]}, "{{sample.output_text}}", 1),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "北京"}]}}]}, "{{sample.output_text}}", 1),
        ({"output_text": '{"city": "北京"}'}, "{{sample.output_json.city}}", 1),
        ({"output_tools": [{"function": {"name": "北京"}}]}, "{{sample.output_tools[0].function.name}}", 1),
        ({"choices": [{"message": {"content": "x"}}]}, "{{sample.choices[0].message.content}}", 0),
        ({"output_text": "no JSON"}, "{{sample.output_json.city}}", 0),
    ],
)
def test_an_answer_may_have_any_of_its_forms(answer: dict[str, Any], template: str, score: float) -> None:
    grade = grade_criterion(_check(template), Sample.of(answer), {"answer": "北京"}, GraderContext())
    assert (grade.score, grade.passed, grade.error) == (score, bool(score), None)


@pytest.mark.parametrize("answer", [{}, {"foo": "bar"}])
def test_what_is_not_there_is_an_error_and_not_a_wrong_answer(answer: dict[str, Any]) -> None:
    grade = grade_criterion(_check("{{sample.output_text}}"), Sample.of(answer), {"answer": ""}, GraderContext())
    assert not grade.passed
    assert grade.error
    assert grade.error.code == "invalid_variable_error"
    assert "sample.output_text" in grade.error.message


def _judge(**fields: Any) -> Any:
    judge = {"type": "score_model", "name": "judge", "model": "m", "input": [{"role": "user", "content": "?"}]}
    return _CRITERION.validate_python({**judge, **fields})


@pytest.mark.parametrize(
    ("criterion", "threshold"),
    [
        (_check(""), 0.5),
        (_judge(), 0.5),
        (_judge(range=[1.0, 7.0]), 4.0),
        (_judge(range=[1.0, 7.0], pass_threshold=6.0), 6.0),
        (_CRITERION.validate_python({"type": "python", "name": "p", "source": "", "pass_threshold": 0.0}), 0.0),
    ],
)
def test_a_score_passes_from_the_threshold_or_the_middle_of_its_range(criterion: Any, threshold: float) -> None:
    assert pass_threshold(criterion) == threshold


@pytest.mark.parametrize(("text", "passed", "code"), [("6", True, None), ("5", False, None), ("?", False, True)])
def test_a_model_that_grades_is_shown_with_its_tokens(text: str, passed: bool, code: bool | None) -> None:
    usage = TokenUsage(prompt_tokens=3, completion_tokens=1, total_tokens=4)
    context = GraderContext(complete=lambda _: ModelReply(text, "m", usage))
    grade = grade_criterion(_judge(range=[1.0, 7.0], pass_threshold=6.0), Sample.of({}), {}, context)
    assert (grade.passed, grade.error is not None) == (passed, bool(code))
    assert grade.sample
    assert grade.sample["output"] == [{"role": "assistant", "content": text}]
    assert [(entry.model_name, entry.invocation_count, entry.total_tokens) for entry in grade.usage] == [("m", 1, 4)]


_TEMPLATE = {"type": "template", "template": [{"role": "user", "content": "{{item.q}}"}]}
_CONTENT = {"type": "file_content", "content": [{"item": {}}]}


def _source(kind: str, **fields: Any) -> Any:
    return _SOURCE.validate_python({"type": kind, "source": _CONTENT, "model": "m", **fields})


def test_an_item_becomes_a_chat_or_a_response() -> None:
    item = {"q": "多少？", "turns": _TURNS, "text": "hi"}
    sampling = {"temperature": 0.5, "max_completions_tokens": 7, "seed": 3}
    chat = sample_request(_source("completions", input_messages=_TEMPLATE, sampling_params=sampling), item)
    sent = [{"role": "user", "content": "多少？"}]
    assert chat.body == {"model": "m", "messages": sent, "temperature": 0.5, "max_completion_tokens": 7, "seed": 3}
    response = sample_request(_source("responses", input_messages=_TEMPLATE, sampling_params=sampling), item)
    assert response.body == {"model": "m", "input": sent, "temperature": 0.5, "max_output_tokens": 7, "store": False}
    for path, messages in (("item.turns", _TURNS), ("item.text", [{"role": "user", "content": "hi"}])):
        reference = {"type": "item_reference", "item_reference": path}
        assert sample_request(_source("completions", input_messages=reference), item).messages == messages


def test_options_have_the_names_of_the_wire() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    sampling = {"response_format": schema, "tools": tools, "top_p": 1.0}
    chat = sample_request(_source("completions", input_messages=_TEMPLATE, sampling_params=sampling), {"q": "a"})
    assert {name: chat.body[name] for name in sampling} == sampling
    text = {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}}
    flat = [{"type": "function", "name": "f", "async": False}]
    response = sample_request(
        _source("responses", input_messages=_TEMPLATE, sampling_params={"text": text, "tools": flat}), {"q": "a"}
    )
    assert (response.body["text"], response.body["tools"]) == (text, flat)


@pytest.mark.parametrize("reference", ["item.missing", "item.number", "item.strings"])
def test_an_item_without_messages_is_an_error(reference: str) -> None:
    source = _source("completions", input_messages={"type": "item_reference", "item_reference": reference})
    with pytest.raises(GraderFailure, match=reference):
        sample_request(source, {"number": 1, "strings": ["a"]})
    template = {"type": "template", "template": [{"role": "user", "content": "{{sample.output_text}}"}]}
    source = _source("completions", input_messages=template)
    with pytest.raises(GraderFailure, match=r"sample\.output_text"):
        sample_request(source, {})


def test_calls_are_shown_in_one_form() -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'}
    output = [{"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "4"}]}]
    response = {"model": "m", "status": "completed", "output": [call], "instructions": "Be brief."}
    row = row_of_response(response, [call, *output])
    assert row.answer
    assert row.answer["output_tools"] == [_CALL]
    assert row.sample
    messages = [(message.role, message.content, message.tool_calls) for message in row.sample.input]
    assert messages == [("system", "Be brief.", None), ("assistant", "", [_CALL]), ("tool", "4", None)]
    assert (row.sample.output[0].tool_calls, row.sample.finish_reason) == ([_CALL], "tool_calls")
    chat = row_of({}, {"choices": [{"message": _TURNS[1]}]})
    assert chat.sample
    assert chat.sample.output[0].tool_calls == [_CALL]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"q": "a", "n": 1}, None),
        ({"q": "a"}, "'item.n' is missing"),
        ({"q": "a", "n": "1"}, "'item.n' does not match the schema: expected integer"),
        ({"q": "a", "n": 1, "m": 2}, "'item.m' is not in the schema, which has q, n"),
    ],
)
def test_an_item_is_held_to_the_schema(item: dict[str, Any], problem: str | None) -> None:
    properties = {"q": {"type": "string"}, "n": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["q", "n"], "additionalProperties": False}
    assert item_problem(schema, item) == problem


def test_rows_of_a_file_need_no_model() -> None:
    assert isinstance(_SOURCE.validate_python({"type": "jsonl", "source": _CONTENT}), JsonlDataSource)
