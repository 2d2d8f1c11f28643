"""`/v1/evaluations`: what it takes and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of, make_model, until
from sqlalchemy.exc import OperationalError

from luthier.evaluation.service import OpenAIService
from luthier.store import Store
from luthier.store.worker_locks import WorkerLocks
from luthier.worker.handlers.attempt import MAX_ATTEMPTS

CHAT = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "ab" * n}]} for n in (1, 5)
]


def test_weights_and_the_context_are_heeded(client: OpenAI) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "abc", "weight": 0}]
    silent, twice = {"messages": [*turns, *CHAT[0]["messages"]]}, {"messages": CHAT[0]["messages"] * 2}
    long = {"messages": [{"role": "user", "content": "q" * 3000}, {"role": "assistant", "content": "a"}]}
    losses = OpenAIService(client).losses("gpt-3.5-turbo", [silent, twice, long])
    assert [(entry.tokens, entry.weight, entry.truncated) for entry in losses] == [
        (3, 3, False),
        (6, 6, False),
        (0, 0, True),
    ]
    assert all(math.isfinite(entry.loss) and 0 <= entry.correct_tokens <= entry.tokens for entry in losses)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody", "examples": CHAT}, 404, None),
        ({"model": "gpt-4o", "examples": [CHAT[0], {"messages": [{"role": "king"}]}]}, 400, "examples[1]"),
        ({"model": "gpt-4o", "examples": [{"prompt": 1, "completion": None}]}, 400, "examples[0]"),
        ({"model": "gpt-4o", "examples": []}, 400, "examples"),
        ({"model": "gpt-4o", "examples": CHAT * 40}, 400, "examples"),
    ],
)
def test_what_has_no_loss_is_refused(client: OpenAI, body: object, status: int, param: str | None) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/evaluations/losses", cast_to=object, body=body)
    assert (caught.value.status_code, body_of(caught.value)["param"]) == (status, param)


def _file(client: OpenAI, lines: list[object] | None = None, **parameters: object) -> str:
    lines = lines or [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]}] * 3
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return client.files.create(file=("valid.jsonl", content), purpose="fine-tune", **parameters).id


def _post(client: OpenAI, path: str = "", **body: object) -> Any:
    return client.post(f"/evaluations{path}", cast_to=object, body=body)


def _get(client: OpenAI, path: str = "") -> Any:
    return client.get(f"/evaluations{path}", cast_to=object)


def _over(client: OpenAI, evaluation_id: str) -> Any:
    until(lambda: _get(client, f"/{evaluation_id}")["status"] not in ("queued", "running"))
    return _get(client, f"/{evaluation_id}")


def test_a_file_is_evaluated_in_the_background(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("yes")
    parameters = {"model": "gpt-4o-mini", "validation_file": _file(scripted), "against": ["gpt-3.5-turbo"]}
    result = _post(scripted, **parameters)
    assert (result["status"], result["definitions"], result["report"]) == ("queued", ["full"], None)
    over = _over(scripted, result["id"])
    assert (over["status"], over["done"], over["total"], over["error"]) == ("succeeded", 12, 12, None), over
    runs = over["report"]["runs"]
    assert [run["model"] for run in runs] == ["gpt-4o-mini", "gpt-3.5-turbo"]
    assert runs[0]["figures"]["exact_match"]["value"] == 1
    assert runs[0]["figures"]["full_valid_loss"]["value"] == 1
    assert (over["headline"]["figure"], over["headline"]["value"]) == ("chrf", 1)
    listed = _get(scripted, "?model=gpt-4o-mini")["data"]
    assert listed[0]["id"] == result["id"]
    assert listed[0]["report"] is None
    assert _get(scripted, "?model=gpt-4o")["data"] == []
    with pytest.raises(openai.BadRequestError, match="Cannot cancel an evaluation with status 'succeeded'"):
        _post(scripted, f"/{result['id']}/cancel")
    scripted.delete(f"/evaluations/{result['id']}", cast_to=object)
    with pytest.raises(openai.NotFoundError, match="No such evaluation"):
        _get(scripted, f"/{result['id']}")


def test_one_that_cannot_be_run_says_why(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("yes")
    texts, broken = _file(scripted), _file(scripted, [{"messages": []}])
    asked = [{"validation_file": texts, "functions": True}, {"validation_file": broken}]
    for body, target in zip(asked, ("ends with a call", "line 1:"), strict=True):
        over = _over(scripted, _post(scripted, model="gpt-4o", **body)["id"])
        assert (over["status"], over["headline"], over["report"]) == ("failed", None, None)
        assert target in over["error"]["message"]
    long = _file(
        scripted, [{"messages": [{"role": "user", "content": "q" * 5000}, {"role": "assistant", "content": "a"}]}]
    )
    over = _over(scripted, _post(scripted, model="gpt-4o", validation_file=long)["id"])
    assert over["error"]["code"] == "context_length_exceeded"


def test_an_end_that_cannot_be_written_is_written_later(
    scripted_server: Bare, scripted: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.say("yes")
    finish, tries = scripted_server.store.evaluations.finish, []

    def full(*parameters: Any, **named: Any) -> None:
        tries.append(parameters)
        if len(tries) < 3:
            raise OperationalError("UPDATE", {}, Exception("database or disk is full"))
        finish(*parameters, **named)

    monkeypatch.setattr("luthier.worker.handlers.attempt._RETRY_S", 0.05)
    monkeypatch.setattr(scripted_server.store.evaluations, "finish", full)
    over = _over(scripted, _post(scripted, model="gpt-4o", validation_file=_file(scripted))["id"])
    assert (over["status"], len(tries)) == ("succeeded", 3)


def test_cancelled_it_stops_and_keeps_nothing(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("a", endless=True, pause_s=0.01)
    result = _post(scripted, model="gpt-4o", validation_file=_file(scripted), max_tokens=3000)
    until(lambda: engine.under_way)
    assert _post(scripted, f"/{result['id']}/cancel")["status"] == "cancelled"
    until(lambda: not engine.under_way)
    assert _get(scripted, f"/{result['id']}")["report"] is None
    engine.say("yes")
    assert _over(scripted, _post(scripted, model="gpt-4o", validation_file=_file(scripted))["id"])["report"]


def test_a_server_that_ends_begins_it_again(tiny_base: Path, tmp_path: Path) -> None:
    engine = ScriptedEngine(tiny_base)
    engine.say("a", endless=True, pause_s=0.01)
    with bare_server(tmp_path, tiny_base, engine) as first:
        result = _post(first.client(), model="gpt-4o", validation_file=_file(first.client()), max_tokens=900)
        until(lambda: engine.under_way)
    assert not engine.under_way
    engine.say("yes")
    with bare_server(tmp_path, tiny_base, engine) as second:
        assert _over(second.client(), result["id"])["status"] == "succeeded"


def _with_dead_worker(data: Path, evaluation_id: str) -> None:
    """The evaluation was running in a process that was killed."""
    store = Store(data)
    dead = WorkerLocks(data / "workers")
    owner = f"{dead.register()}/evaluations"
    claimed = store.evaluations.claim(owner)
    assert claimed
    assert claimed.id == evaluation_id
    for lock in dead._own.values():
        lock.release()
    store.close()


def test_an_evaluation_that_kills_its_worker_fails_in_the_end(tiny_base: Path, tmp_path: Path) -> None:
    """Tried so many times, at once after each death; a worker that stops in good order is no death."""
    engine = ScriptedEngine(tiny_base)
    engine.say("yes")
    store = Store(tmp_path)
    file = store.files.create("v.jsonl", "fine-tune", lambda out: out.write(json.dumps(CHAT[0]).encode()) and None)
    values = {"validation_file": file.id, "filename": "v.jsonl", "against": [], "functions": False}
    values |= {"definitions": ["full"], "limit": None, "max_tokens": None}
    first, second = (store.evaluations.create(model="gpt-4o", **values).id for _ in range(2))
    stopped = store.evaluations.claim("stopped")
    assert stopped
    store.evaluations.requeue(stopped.id, "stopped")
    store.close()
    for _ in range(MAX_ATTEMPTS):
        _with_dead_worker(tmp_path, first)
        Store(tmp_path).release_dead_workers()
    with bare_server(tmp_path, tiny_base, engine) as place:
        over = _over(place.client(), first)
        assert (over["status"], over["error"]["code"]) == ("failed", "worker_died")
        assert f"died {MAX_ATTEMPTS} times" in over["error"]["message"]
        assert _over(place.client(), second)["status"] == "succeeded"


FIGURE = {"value": 0.5, "low": 0.2, "high": 0.8, "n": 4}
REPORT = {
    "kind": "functions",
    "file": "v.jsonl",
    "runs": [{"model": "gpt-4o", "definitions": "none", "figures": {"call_exact": FIGURE}, "failures": [1]}],
}


def test_reports_are_a_projects_and_go_with_their_model(
    keyed: Bare, a: OpenAI, b: OpenAI, everybody: OpenAI, tmp_path: Path
) -> None:
    model = make_model(keyed, a, "ft:gpt-4o-mini-2024-07-18:personal::eval0001", tmp_path / "adapter")
    report = REPORT | {"runs": [REPORT["runs"][0] | {"model": model}]}
    answer = _post(a, model=model, report=report)
    assert (answer["status"], answer["headline"]["value"], answer["filename"]) == ("succeeded", 0.5, "v.jsonl")
    assert _get(a, f"/{answer['id']}")["report"] == report
    assert [entry["id"] for entry in _get(everybody, f"?model={model}")["data"]] == [answer["id"]]
    assert _get(b, f"?model={model}")["data"] == []
    for path in (f"/{answer['id']}", f"/{answer['id']}/cancel"):
        with pytest.raises(openai.NotFoundError):
            _post(b, path) if path.endswith("cancel") else _get(b, path)
    for body in ({"report": report}, {"validation_file": _file(b)}):
        with pytest.raises(openai.NotFoundError):
            _post(b, model=model, **body)
    with pytest.raises(openai.BadRequestError, match="invalid validation_file"):
        _post(b, model="gpt-4o", validation_file=_file(a))
    # A key of everything sees them; what it asks for would run in the default project, which does not.
    with pytest.raises(openai.NotFoundError) as caught:
        _post(everybody, model=model, validation_file=_file(everybody))
    assert body_of(caught.value)["param"] == "model"
    with pytest.raises(openai.BadRequestError, match="invalid validation_file"):
        _post(everybody, model="gpt-4o", validation_file=_file(a))
    a.models.delete(model)
    with pytest.raises(openai.NotFoundError):
        _get(a, f"/{answer['id']}")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "validation_file"),
        ({"validation_file": "file-x", "report": REPORT}, "validation_file"),
        ({"validation_file": "file-x"}, "validation_file"),
        ({"validation_file": "file-x", "definitions": ["full"]}, "definitions"),
        ({"validation_file": "file-x", "functions": True, "definitions": ["most"]}, "definitions[0]"),
        ({"validation_file": "file-x", "against": ["nobody"]}, "against"),
        ({"report": REPORT | {"runs": []}}, "report"),
        ({"report": REPORT, "model": "gpt-3.5-turbo"}, "report"),
    ],
)
def test_what_cannot_be_an_evaluation_is_refused(scripted: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        _post(scripted, **{"model": "gpt-4o", **body})
    assert caught.value.status_code in (400, 404)
    assert body_of(caught.value)["param"] == param
