"""`client.evals`: runs over every kind of data source, their results, and what is refused."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import ScriptedEngine, bare_server, body_of, until

_CUSTOM = {"type": "custom", "item_schema": {"type": "object", "required": ["q"]}, "include_sample_schema": True}
_SAME = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
_NEAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "rouge_l",
    "pass_threshold": 0.5,
}
_JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": "gpt-4o-mini",
    "input": [{"role": "user", "content": "Grade: {{sample.output_text}}"}],
    "range": [0, 10],
    "pass_threshold": 5,
}
_LABELS = {
    "type": "label_model",
    "name": "tone",
    "model": "gpt-4o-mini",
    "input": [{"role": "developer", "content": {"type": "input_text", "text": "Label: {{sample.output_text}}"}}],
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}
_TEMPLATE = {"type": "template", "template": [{"role": "user", "content": "{{item.q}}"}]}
_ITEMS = [{"item": {"q": "a?", "answer": "yes"}}, {"item": {"q": "b?", "answer": "no"}}]


def _with_text(content: Any) -> Any:
    return {"type": "template", "template": [*_TEMPLATE["template"], {"role": "user", "content": content}]}


def _eval(client: OpenAI, *criteria: dict[str, Any], config: dict[str, Any] | None = None) -> Any:
    return client.evals.create(data_source_config=config or _CUSTOM, testing_criteria=list(criteria or (_SAME,)))


def _source(kind: str, content: Any = None, **fields: Any) -> Any:
    source = {"type": "file_content", "content": _ITEMS if content is None else content}
    return {"type": kind, "source": source, **fields}


def _sampled(kind: str = "completions", content: Any = None, **sampling: Any) -> Any:
    fields = {"model": "gpt-4o-mini", "input_messages": _TEMPLATE, "sampling_params": sampling}
    return _source(kind, content, **fields)


def _ended(client: OpenAI, eval_id: str, data_source: Any, **fields: Any) -> Any:
    run = client.evals.runs.create(eval_id, data_source=data_source, **fields)
    assert (run.status, run.result_counts.total, run.error) == ("queued", 0, None)
    return _over(client, run)


def _over(client: OpenAI, run: Any) -> Any:
    def retrieved() -> Any:
        return client.evals.runs.retrieve(run.id, eval_id=run.eval_id)

    until(lambda: retrieved().status not in ("queued", "in_progress"))
    return retrieved()


def _items(client: OpenAI, run: Any, **query: Any) -> list[Any]:
    return list(client.evals.runs.output_items.list(run.id, eval_id=run.eval_id, **query))


@pytest.mark.parametrize("kind", ["completions", "responses"])
def test_a_model_is_sampled_and_graded(scripted: OpenAI, engine: ScriptedEngine, kind: str) -> None:
    engine.say("yes")
    created = _eval(scripted, _SAME, _NEAR)
    assert [criterion.name for criterion in created.testing_criteria] == ["same", "near"]
    run = _ended(scripted, created.id, _sampled(kind, temperature=0.5, max_completion_tokens=20), name="n")
    assert (run.status, run.name, run.model, run.error) == ("completed", "n", "gpt-4o-mini", None)
    assert run.result_counts.to_dict() == {"total": 2, "errored": 0, "failed": 1, "passed": 1}
    ids = [criterion.to_dict()["id"] for criterion in created.testing_criteria]
    by_criterion = [(row.testing_criteria, row.passed, row.failed) for row in run.per_testing_criteria_results]
    assert by_criterion == [(ids[0], 1, 1), (ids[1], 1, 1)]
    [usage] = run.per_model_usage
    assert usage.invocation_count == 2
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert run.report_url.endswith(f"/v1/evals/{created.id}/runs/{run.id}")
    first, second = _items(scripted, run)
    assert (first.status, second.status, first.datasource_item_id) == ("pass", "fail", 0)
    assert [(result.name, result.passed, result.score) for result in first.results] == [
        (ids[0], True, 1),
        (ids[1], True, 1),
    ]
    assert (first.sample.input[0].content, first.sample.output[0].content) == ("a?", "yes")
    assert (first.sample.temperature, first.sample.max_completion_tokens, first.sample.error) == (0.5, 20, None)
    assert [item.id for item in _items(scripted, run, status="fail")] == [second.id]
    assert [item.id for item in _items(scripted, run, order="desc", limit=1)] == [second.id, first.id]
    item = scripted.evals.runs.output_items.retrieve(first.id, eval_id=created.id, run_id=run.id)
    assert item.datasource_item == _ITEMS[0]["item"]


def test_models_that_grade_are_counted_apart(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say('{"result": 7}', '{"result": "bad"}')
    answered = [{"item": {"q": "", "answer": ""}, "sample": {"output_text": "yes"}}]
    created = _eval(scripted, _JUDGE, _LABELS)
    run = _ended(scripted, created.id, _source("jsonl", answered))
    [item] = _items(scripted, run)
    assert [(result.type, result.score, result.passed) for result in item.results] == [
        ("score_model", 7, True),
        ("label_model", 0, False),
    ]
    assert item.results[0].sample["output"][0]["content"] == '{"result": 7}'
    assert (item.status, run.model, item.sample.output[0].content) == ("fail", "", "yes")
    assert [usage.invocation_count for usage in run.per_model_usage] == [2]
    assert "Grade: yes" in engine.prompts[0]


def test_what_is_stored_is_graded_and_sampled_again(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("first")
    pairs = {"use": "evals"}
    turns = [{"role": "user", "content": "stored?"}]
    scripted.chat.completions.create(model="gpt-4o", messages=turns, store=True, metadata=pairs)
    scripted.responses.create(model="gpt-4o", input="stored?", instructions="Be brief.", metadata=pairs)
    check = {**_SAME, "reference": "first"}
    logs = _eval(scripted, check, config={"type": "logs", "metadata": pairs})
    assert logs.data_source_config.to_dict()["metadata"] == pairs
    completions = {"type": "completions", "source": {"type": "stored_completions"}}
    responses = {"type": "responses", "source": {"type": "responses", "instructions_search": "brief"}}
    for source in (completions, responses):
        run = _ended(scripted, logs.id, source)
        assert (run.result_counts.passed, run.result_counts.total, run.per_model_usage) == (1, 1, [])
        [item] = _items(scripted, run)
        assert "stored?" in item.sample.input[-1].content
    engine.say("second")
    for source in (completions, responses):
        reference = {"type": "item_reference", "item_reference": "item.input"}
        run = _ended(scripted, logs.id, {**source, "model": "gpt-4o-mini", "input_messages": reference})
        assert (run.result_counts.failed, run.result_counts.total) == (1, 1)
        assert "stored?" in engine.prompts[-1]
    assert "Be brief." in engine.prompts[-1]
    empty = {"type": "completions", "source": {"type": "stored_completions", "metadata": {"use": "other"}}}
    run = _ended(scripted, logs.id, empty)
    assert (run.status, run.error.code) == ("failed", "no_items")


def _upload(client: OpenAI, content: str) -> str:
    return client.files.create(file=("items.jsonl", content.encode()), purpose="evals").id


def test_a_file_is_read_when_the_run_begins(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("yes")
    created = _eval(scripted)
    lines = "".join(json.dumps(row) + "\n" for row in _ITEMS)
    source = {"type": "file_id", "id": _upload(scripted, lines)}
    run = _ended(scripted, created.id, {**_sampled(), "source": source})
    assert (run.status, run.result_counts.total) == ("completed", 2)
    faults = {
        '{"item": {"answer": "a"}}': "items.jsonl, line 1: 'item.q' is missing.",
        '{"item": {"q": "a"}}\n\n{"item": [1]}': "items.jsonl, line 3: each line is an object",
        '{"item": {"q": "a"}}\n{"item': "items.jsonl, line 2: it is no JSON",
    }
    for content, message in faults.items():
        source = {"type": "file_id", "id": _upload(scripted, content)}
        run = _ended(scripted, created.id, {**_sampled(), "source": source})
        assert (run.status, run.error.code) == ("failed", "invalid_item")
        assert run.error.message.startswith(message)


def test_an_item_that_cannot_be_answered_is_an_error_of_its_own(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("yes")
    content = [{"item": {"q": "q" * 6000, "answer": "yes"}}, *_ITEMS[:1], {"item": {"q": "c?"}}]
    run = _ended(scripted, _eval(scripted).id, _sampled(content=content))
    assert run.result_counts.to_dict() == {"total": 3, "errored": 2, "failed": 0, "passed": 1}
    unanswered, _, ungraded = _items(scripted, run)
    assert (unanswered.status, unanswered.results) == ("error", [])
    assert unanswered.sample.error.code == "context_length_exceeded"
    [result] = ungraded.results
    assert result.to_dict()["error"]["code"] == "invalid_variable_error"


def test_a_canceled_run_stops_and_keeps_what_is_graded(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("a", endless=True, pause_s=0.01)
    run = scripted.evals.runs.create(_eval(scripted).id, data_source=_sampled(max_completion_tokens=3000))
    until(lambda: engine.under_way)
    assert scripted.evals.runs.cancel(run.id, eval_id=run.eval_id).status == "canceled"
    until(lambda: not engine.under_way)
    assert _items(scripted, run) == []
    assert [listed.id for listed in scripted.evals.runs.list(run.eval_id, status="canceled")] == [run.id]
    scripted.evals.runs.delete(run.id, eval_id=run.eval_id)
    assert list(scripted.evals.runs.list(run.eval_id)) == []


def test_a_server_that_ends_asks_nothing_again(tiny_base: Path, tmp_path: Path) -> None:
    engine = ScriptedEngine(tiny_base)
    engine.say("yes")
    content = [{"item": {"q": f"{n}?", "answer": "yes"}} for n in range(12)]
    engine.pause_s = 0.05
    with bare_server(tmp_path, tiny_base, engine) as first:
        client = first.client()
        run = client.evals.runs.create(_eval(client).id, data_source=_sampled(content=content))
        until(lambda: client.evals.runs.retrieve(run.id, eval_id=run.eval_id).result_counts.passed >= 3)
    answered = len(engine.prompts) - 2  # two were being answered
    engine.say("yes")
    with bare_server(tmp_path, tiny_base, engine) as second:
        ended = _over(second.client(), run)
    assert (ended.status, ended.result_counts.passed) == ("completed", 12)
    assert len(engine.prompts) <= 12 - answered
    assert sum(usage.invocation_count for usage in ended.per_model_usage) == 12


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"testing_criteria": []}, 400, "testing_criteria"),
        ({"testing_criteria": [{**_NEAR, "pass_threshold": None}]}, 400, "testing_criteria[0].pass_threshold"),
        ({"testing_criteria": [_SAME, {**_JUDGE, "model": "nobody"}]}, 400, "testing_criteria[1].model"),
        ({"testing_criteria": [{**_SAME, "input": "{{sample.secret}}"}]}, 400, "testing_criteria[0].input"),
        ({"testing_criteria": [_SAME, {**_SAME, "reference": "{{item.q"}]}, 400, "testing_criteria[1].reference"),
        ({"testing_criteria": [{"type": "python", "name": "p", "source": "x"}]}, 403, "testing_criteria[0].type"),
        ({"data_source_config": {"type": "custom", "item_schema": {"type": 5}}}, 400, "data_source_config.item_schema"),
        ({"data_source_config": {"type": "traces"}}, 400, "data_source_config.type"),
    ],
)
def test_an_eval_that_could_not_run_is_refused(scripted: OpenAI, body: Any, status: int, param: str) -> None:
    with pytest.raises(openai.APIStatusError) as error_info:
        scripted.evals.create(**{"data_source_config": _CUSTOM, "testing_criteria": [_SAME], **body})
    assert (error_info.value.status_code, body_of(error_info.value)["param"]) == (status, param)


@pytest.mark.parametrize(
    ("source", "param"),
    [
        (_source("jsonl", []), "source.content"),
        (_source("jsonl", [*_ITEMS, {"item": {"answer": "a"}}]), "source.content[2].item"),
        (_source("jsonl", [{"item": {"q": "a" * 2**21}}]), "source.content"),
        ({"type": "jsonl", "source": {"type": "file_id", "id": "file-x"}}, "source.id"),
        ({"type": "jsonl", "source": {"type": "responses"}}, "source"),
        ({**_sampled(), "model": "nobody"}, "model"),
        (_source("completions", input_messages=_TEMPLATE), "model"),
        (_source("completions", model="gpt-4o"), "input_messages"),
        (
            _source("completions", model="gpt-4o", input_messages={"type": "item_reference", "item_reference": "x"}),
            "input_messages.item_reference",
        ),
        (_sampled() | {"input_messages": _with_text("{{item.q")}, "input_messages.template[1].content"),
        (
            _sampled("responses") | {"input_messages": _with_text([{"type": "input_text", "text": "{{item.q}"}])},
            "input_messages.template[1].content",
        ),
        (_sampled(reasoning_effort="most"), "sampling_params.reasoning_effort"),
    ],
)
def test_a_run_that_could_not_begin_is_refused(scripted: OpenAI, source: Any, param: str) -> None:
    eval_id = _eval(scripted).id
    with pytest.raises(openai.BadRequestError) as error_info:
        scripted.evals.runs.create(eval_id, data_source=source)
    assert str(body_of(error_info.value)["param"]).removeprefix("data_source.").startswith(param)


def test_evals_are_updated_and_listed(scripted: OpenAI) -> None:
    created = _eval(scripted)
    assert created.name == created.id
    updated = scripted.evals.update(created.id, name="later", metadata={"a": "b"})
    assert (updated.name, updated.metadata) == ("later", {"a": "b"})
    listed = scripted.evals.list(order="desc", limit=1).data[0]
    assert scripted.evals.retrieve(created.id).to_dict() == listed.to_dict() == updated.to_dict()
    assert set(updated.data_source_config.schema_["properties"]) == {"item", "sample"}
    assert scripted.evals.delete(created.id).to_dict() == {
        "object": "eval.deleted",
        "deleted": True,
        "eval_id": created.id,
    }
    with pytest.raises(openai.NotFoundError):
        scripted.evals.retrieve(created.id)


def test_evals_are_a_projects(a: OpenAI, b: OpenAI, everybody: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("yes")
    created = _eval(a)
    run = _ended(a, created.id, _sampled())
    [item, _] = _items(a, run)
    calls: list[Any] = [
        lambda: b.evals.retrieve(created.id),
        lambda: b.evals.update(created.id, name="x"),
        lambda: b.evals.delete(created.id),
        lambda: b.evals.runs.create(created.id, data_source=_source("jsonl")),
        lambda: b.evals.runs.list(created.id),
        lambda: b.evals.runs.retrieve(run.id, eval_id=created.id),
        lambda: b.evals.runs.cancel(run.id, eval_id=created.id),
        lambda: b.evals.runs.delete(run.id, eval_id=created.id),
        lambda: b.evals.runs.output_items.list(run.id, eval_id=created.id),
        lambda: b.evals.runs.output_items.retrieve(item.id, eval_id=created.id, run_id=run.id),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    assert b.evals.list().data == []
    again = _ended(everybody, created.id, _sampled())  # belongs to the eval's project
    assert {run.id, again.id} == {listed.id for listed in a.evals.runs.list(created.id)}
    file = _upload(b, '{"item": {"q": "a"}}')
    with pytest.raises(openai.BadRequestError, match=r"invalid data_source\.source\.id"):
        everybody.evals.runs.create(
            created.id, data_source={"type": "jsonl", "source": {"type": "file_id", "id": file}}
        )
