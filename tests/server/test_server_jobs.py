"""`/v1/fine_tuning/jobs` without a worker, whose tests are in tests/worker."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, body_of

from luthier.store import Event

LINE = b'{"messages": []}\n'


@pytest.fixture(scope="module")
def http(bare: Bare) -> Iterator[httpx.Client]:
    with bare.http() as connected:
        yield connected


@pytest.fixture(scope="module")
def file_id(bare_client: OpenAI) -> str:
    return bare_client.files.create(file=("train.jsonl", LINE), purpose="fine-tune").id


def test_a_new_job(bare_client: OpenAI, file_id: str) -> None:
    jobs = bare_client.fine_tuning.jobs
    job = jobs.create(
        model="gpt-4o-mini",
        training_file=file_id,
        validation_file=file_id,
        suffix="my-model.v2",
        seed=7,
        metadata={"k": "v"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    )
    assert job.id.startswith("ftjob-")
    assert (job.object, job.status) == ("fine_tuning.job", "validating_files")
    assert (job.model, job.training_file, job.validation_file) == ("gpt-4o-mini-2024-07-18", file_id, file_id)
    assert (job.seed, job.metadata, job.user_provided_suffix) == (7, {"k": "v"}, "my-model.v2")
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, "auto")
    assert (job.error, job.finished_at, job.fine_tuned_model, job.trained_tokens) == (None, None, None, None)
    assert jobs.retrieve(job.id) == job
    assert [event.message for event in jobs.list_events(job.id)] == [f"Created fine-tuning job: {job.id}"]
    assert jobs.checkpoints.list(job.id).data == []


def test_defaults(bare_client: OpenAI, file_id: str) -> None:
    """A missing seed is drawn; top-level `hyperparameters` mean the supervised method; 2.0 is an integer in JSON."""
    hyperparameters = {"n_epochs": 2.0}
    job = bare_client.fine_tuning.jobs.create(
        model="gpt-3.5-turbo", training_file=file_id, hyperparameters=hyperparameters
    )
    assert 0 <= job.seed < 2**31
    assert job.method.type == "supervised"
    assert job.method.supervised.hyperparameters.n_epochs == 2
    same = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = bare_client.fine_tuning.jobs.create(
        model="gpt-4o", training_file=file_id, hyperparameters=hyperparameters, method=same, validation_file=None
    )
    assert job.hyperparameters.n_epochs == 2


def _supervised(**hyperparameters: object) -> dict[str, object]:
    return {"method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}


_RFT = "method.reinforcement.hyperparameters"
_GRADER = {"type": "string_check", "name": "x", "input": "{{sample.output_text}}", "reference": "x", "operation": "eq"}


def _reinforcement(grader: object = _GRADER, **hyperparameters: object) -> dict[str, object]:
    block = {"grader": grader, "hyperparameters": hyperparameters, "response_format": None}
    return {"method": {"type": "reinforcement", "reinforcement": block}}


_PAIRS = {f"k{number}": "v" for number in range(17)}
_REFUSED: list[tuple[dict[str, object], str | None, str | None, str]] = [
    ({"training_file": "file-nope"}, "training_file", None, "invalid training_file: file-nope"),
    ({"validation_file": "file-nope"}, "validation_file", None, "invalid validation_file: file-nope"),
    ({"training_file": None}, "training_file", "invalid_type", "expected a string, but got null"),
    ({"training_file": ""}, "training_file", "empty_string", "empty string"),
    ({"model": "gpt-nope"}, "model", "model_not_available", "Model gpt-nope is not available for fine-tuning"),
    ({"model": "ft:gpt-4o-mini:x::y"}, "model", "model_not_available", "does not exist"),
    ({"suffix": ""}, "suffix", "empty_string", "empty string"),
    ({"suffix": "x" * 65}, "suffix", "string_above_max_length", "maximum length 64"),
    ({"suffix": "a:b"}, "suffix", "invalid_value", "'a:b'"),
    ({"suffix": "a/../b"}, "suffix", "invalid_value", "'a/../b'"),
    ({"seed": -1}, "seed", "integer_below_min_value", "Expected a value >= 0, but got -1 instead"),
    ({"seed": 2**31}, "seed", "integer_above_max_value", "<= 2147483647"),
    ({"seed": 10**300}, "seed", "integer_above_max_value", "..."),
    ({"seed": 1.5}, "seed", "invalid_type", "expected an integer, but got a decimal number"),
    ({"seed": True}, "seed", "invalid_type", "but got a boolean"),
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "integer_below_min_value", ">= 1"),
    ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "integer_above_max_value", "<= 50"),
    ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs", "invalid_type", "decimal number"),
    ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", "invalid_value", "'many'"),
    ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "integer_above_max_value", "257"),
    ({"hyperparameters": {"epochs": 1}}, "hyperparameters.epochs", "unknown_parameter", "'hyperparameters.epochs'"),
    (
        _supervised(learning_rate_multiplier=0),
        "method.supervised.hyperparameters.learning_rate_multiplier",
        "decimal_below_min_value",
        "Expected a value > 0, but got 0 instead",
    ),
    ({"method": {"type": "sft"}}, "method.type", "invalid_value", "'supervised', 'dpo', and 'reinforcement'"),
    ({"method": {}}, "method.type", "missing_required_parameter", "'method.type'"),
    ({"method": "dpo"}, "method", "invalid_type", "expected an object, but got a string"),
    ({"method": {"type": "reinforcement"}}, "method.reinforcement", "missing_required_parameter", "'method.rein"),
    (_reinforcement(), "validation_file", "missing_required_parameter", "'validation_file'"),
    (_reinforcement(grader=None), "method.reinforcement.grader", "invalid_type", "expected an object"),
    (_reinforcement(compute_multiplier=11), f"{_RFT}.compute_multiplier", "decimal_above_max_value", "<= 10"),
    (_reinforcement(eval_samples=0), f"{_RFT}.eval_samples", "integer_below_min_value", ">= 1"),
    (_reinforcement(reasoning_effort="max"), f"{_RFT}.reasoning_effort", "invalid_value", "'max'"),
    ({"hyperparameters": {"n_epochs": 1}, **_supervised(n_epochs=2)}, "hyperparameters", None, "contradict each other"),
    ({"metadata": {"luthier:rank": "many"}}, "metadata", "invalid_value", "a number from 1 to 512, but it is 'many'"),
    ({"metadata": {"luthier:alpha": "0"}}, "metadata", "invalid_value", "a number from 1 to 4096"),
    ({"metadata": {"luthier:targets": "q_proj,"}}, "metadata", "invalid_value", "but it is 'q_proj,'"),
    ({"metadata": {"luthier:tuning": "half"}}, "metadata", "invalid_value", "'lora' or 'full'"),
    ({"metadata": {"luthier:tuning": "full", "luthier:rank": "8"}}, "metadata", "invalid_value", "has no adapter"),
    ({"metadata": {"luthier:early_stopping": "0"}}, "metadata", "invalid_value", "from 1 to 1000, but it is '0'"),
    (
        {"metadata": {"luthier:early_stopping": "2"}},
        "validation_file",
        "missing_required_parameter",
        "'luthier:early_stopping' needs a 'validation_file'",
    ),
    ({"metadata": {"luthier:validate_at": "0.5,1"}}, "metadata", "invalid_value", "shares such as 0.25,0.5"),
    ({"metadata": {"luthier:ranks": "8"}}, "metadata", "invalid_value", "Unknown key 'luthier:ranks'"),
    (
        {"metadata": _PAIRS},
        "metadata",
        "object_above_max_properties",
        "at most 16 properties, but got an object with 17",
    ),
    (
        {"metadata": {"k" * 65: "v"}},
        "metadata",
        "property_name_above_max_length",
        "maximum length 64, but got one with",
    ),
    ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length", "maximum length 512"),
    ({"metadata": {"k": 1}}, "metadata.k", "invalid_type", "expected a string, but got an integer"),
    ({"integrations": [{"type": "wandb"}]}, "integrations[0].wandb", "missing_required_parameter", "wandb"),
    ({"integrations": [{"type": "x", "wandb": {"project": "p"}}]}, "integrations[0].type", "invalid_value", "'x'"),
    ({"test_file": "file-x"}, "test_file", "unknown_parameter", "belongs to the method 'reinforcement'"),
    ({"epochs": 3}, "epochs", "unknown_parameter", "Unknown parameter: 'epochs'."),
    ({"Epochs-now": 3}, "Epochs-now", "unknown_parameter", "Unknown parameter: 'Epochs-now'."),
]


@pytest.mark.parametrize(("options", "param", "code", "reason"), _REFUSED, ids=[str(case[0])[:50] for case in _REFUSED])
def test_create_refuses(
    http: httpx.Client, file_id: str, options: dict[str, object], param: str | None, code: str | None, reason: str
) -> None:
    answer = http.post("/fine_tuning/jobs", json={"model": "gpt-4o-mini", "training_file": file_id} | options)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code), error
    assert reason in error["message"]


_SCORE_MODEL = {"type": "score_model", "name": "x", "model": "o3", "input": [{"role": "user", "content": "Grade it."}]}


@pytest.mark.parametrize("model", ["gpt-4o-mini", "o4-mini-2025-04-16", "o1-nope"])
@pytest.mark.parametrize("file_param", ["validation_file", "test_file"])
def test_reinforcement_is_understood_and_refused(http: httpx.Client, file_id: str, model: str, file_param: str) -> None:
    """Errors in the request are reported first; a valid request is refused with a 400, which clients do not retry."""

    def answer(grader: object) -> dict[str, object]:
        every = {"compute_multiplier": 1.5, "eval_interval": 3, "eval_samples": "auto", "reasoning_effort": "low"}
        every |= {"etest_samples": 2}
        body = {"model": model, "training_file": file_id, file_param: file_id}
        selected = http.post("/fine_tuning/jobs", json=body | _reinforcement(grader, n_epochs=2, **every))
        assert selected.status_code == 400
        error: dict[str, object] = selected.json()["error"]
        return error

    wrong = answer({**_GRADER, "input": "{{item}}"})
    assert (wrong["param"], wrong["code"]) == ("method.reinforcement.grader.input", "invalid_grader")
    for grader in (_GRADER, _SCORE_MODEL):
        right = answer(grader)
        assert (right["param"], right["code"]) == ("method.type", "unsupported_value")
        assert "'reinforcement' is not available on this server" in str(right["message"])


def test_blocks_of_other_methods_have_no_effect(bare_client: OpenAI, file_id: str) -> None:
    """Requests of the official client's own tests."""
    auto = {"batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": "auto"}
    more = {
        "compute_multiplier": "auto",
        "eval_interval": "auto",
        "eval_samples": "auto",
        "reasoning_effort": "default",
    }
    method = {
        "type": "supervised",
        "supervised": {"hyperparameters": auto},
        "dpo": {"hyperparameters": {**auto, "beta": "auto"}},
        "reinforcement": {"grader": _GRADER, "hyperparameters": {**auto, **more}},
    }
    job = bare_client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file_id, method=method, hyperparameters=auto
    )
    assert job.method.to_dict() == {"type": "supervised", "supervised": {"hyperparameters": auto}}


def test_integrations_are_shown_with_the_run_they_would_be(bare_client: OpenAI, file_id: str) -> None:
    wandb = {"project": "p", "name": "n", "entity": "e", "tags": ["t"]}
    jobs = bare_client.fine_tuning.jobs
    job = jobs.create(model="gpt-4o", training_file=file_id, integrations=[{"type": "wandb", "wandb": wandb}])
    assert [entry.to_dict() for entry in job.integrations] == [{"type": "wandb", "wandb": {**wandb, "run_id": job.id}}]
    assert jobs.retrieve(job.id) == job
    listed = job.to_dict()
    assert (listed["usage_metrics"], listed["shared_with_openai"]) == (None, False)


def test_model_limits(http: httpx.Client, bare_client: OpenAI, file_id: str) -> None:
    before = http.get("/fine_tuning/model_limits").json()
    job = bare_client.fine_tuning.jobs.create(model="gpt-4.1-nano", training_file=file_id)
    after = http.get("/fine_tuning/model_limits").json()
    for name in ("gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"):
        assert after[name] == {**before[name], "active_jobs": before[name]["active_jobs"] + 1}
        assert after[name]["max_concurrent_jobs"] == 1
    bare_client.fine_tuning.jobs.cancel(job.id)
    assert http.get("/fine_tuning/model_limits").json()["gpt-4.1-nano"] == before["gpt-4.1-nano"]


@pytest.mark.parametrize("missing", ["model", "training_file"])
def test_create_without_what_it_needs(http: httpx.Client, missing: str) -> None:
    body = {"model": "gpt-4o-mini", "training_file": "file-x"}
    del body[missing]
    error = http.post("/fine_tuning/jobs", json=body).json()["error"]
    assert (error["param"], error["code"]) == (missing, "missing_required_parameter")
    assert error["message"] == f"Missing required parameter: '{missing}'."


def test_a_file_for_something_else(bare_client: OpenAI, file_id: str) -> None:
    second = bare_client.files.create(file=("x.jsonl", LINE), purpose="batch").id
    for files in ({"training_file": second}, {"training_file": file_id, "validation_file": second}):
        with pytest.raises(openai.BadRequestError) as caught:
            bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", **files)
        assert "purpose 'batch'" in str(body_of(caught.value)["message"])


@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/chat/completions"])
def test_more_metadata_than_anything_can_have_is_refused(raw: httpx.Client, path: str) -> None:
    answer = raw.get(path, params={f"metadata[{index}]": "x" for index in range(2000)})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "object_above_max_properties"


def test_list_pages_and_metadata(bare_client: OpenAI, file_id: str) -> None:
    def create(**metadata: str) -> str:
        job = bare_client.fine_tuning.jobs.create(model="gpt-4o", training_file=file_id, metadata=metadata)
        return job.id

    ids = [create(team="t1", number=str(number)) for number in range(5)]
    odd = create(**{"a.b [c]": "x y&z=ü"})
    jobs = bare_client.fine_tuning.jobs
    assert jobs.list(limit=1).data[0].id == odd
    assert [job.id for job in jobs.list(limit=2, extra_query={"metadata[team]": "t1"})] == ids[::-1]
    page = jobs.list(after=ids[3], limit=2, extra_query={"metadata": {"team": "t1"}})
    assert ([job.id for job in page.data], page.has_more) == ([ids[2], ids[1]], True)
    both = {"metadata": {"team": "t1", "number": "2"}}
    assert [job.id for job in jobs.list(extra_query=both)] == [ids[2]]
    assert [job.id for job in jobs.list(extra_query={"metadata": {"a.b [c]": "x y&z=ü"}})] == [odd]
    assert jobs.list(extra_query={"metadata": {"team": "t2"}}).data == []
    quoted = create(**{"a\"b'c\\": "x", "$": "y"})
    assert [job.id for job in jobs.list(extra_query={"metadata": {"a\"b'c\\": "x", "$": "y"}})] == [quoted]
    without = [create(), bare_client.fine_tuning.jobs.create(model="gpt-4o", training_file=file_id).id]
    selected = [job.id for job in jobs.list(extra_query={"metadata": "null"})]
    assert selected[:2] == without[::-1]
    assert not {quoted, odd, *ids} & set(selected)


def test_a_limit_of_0_is_an_empty_page(bare_client: OpenAI, file_id: str) -> None:
    jobs = bare_client.fine_tuning.jobs
    job = jobs.create(model="gpt-4o", training_file=file_id)
    for page in (jobs.list(limit=0), jobs.list(after=job.id, limit=0), jobs.list_events(job.id, limit=0)):
        assert page.data == []
        assert page.has_more is False  # an empty page has no cursor, so a client that went on would never end


@pytest.mark.parametrize("query", ["limit=-1", "limit=many", "limit=1e3"])
def test_list_refuses(http: httpx.Client, query: str) -> None:
    assert http.get(f"/fine_tuning/jobs?{query}").json()["error"]["param"] == "limit"


@pytest.mark.parametrize("key", ['a"b', "a'b", "$", "%00", "", "\\", "]"])
def test_odd_metadata_keys_find_nothing(http: httpx.Client, key: str) -> None:
    answer = http.get("/fine_tuning/jobs", params={f"metadata[{key}]": "x"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == []


def test_unknown_jobs(bare_client: OpenAI) -> None:
    jobs = bare_client.fine_tuning.jobs
    for call in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events, jobs.checkpoints.list):
        with pytest.raises(openai.NotFoundError) as caught:
            call("ftjob-unknown")
        assert body_of(caught.value) == {
            "message": "Could not find fine tune: ftjob-unknown",
            "type": "invalid_request_error",
            "param": "fine_tune_id",
            "code": "fine_tune_not_found",
        }


_MOVES: dict[str, dict[str, str | None]] = {  # what becomes of a job in each state; None: refused
    "validating_files": {"cancel": "cancelled", "pause": None, "resume": None},
    "queued": {"cancel": "cancelled", "pause": "paused", "resume": None},
    "running": {"cancel": "cancelled", "pause": "paused", "resume": None},
    "paused": {"cancel": "cancelled", "pause": None, "resume": "queued"},
    "succeeded": {"cancel": None, "pause": None, "resume": None},
    "failed": {"cancel": None, "pause": None, "resume": None},
    "cancelled": {"cancel": None, "pause": None, "resume": None},
}


@pytest.mark.parametrize(
    ("state", "move", "becomes"), [(state, move, to) for state, moves in _MOVES.items() for move, to in moves.items()]
)
def test_cancel_pause_resume(
    bare: Bare, bare_client: OpenAI, file_id: str, state: Any, move: str, becomes: str | None
) -> None:
    """The error is a 400, which clients do not retry."""
    jobs = bare_client.fine_tuning.jobs
    job = jobs.create(model="gpt-4o", training_file=file_id)
    if state != "validating_files":
        assert bare.store.jobs.transition(job.id, ["validating_files"], state, Event("moved by a test"))
    if becomes is None:
        with pytest.raises(openai.BadRequestError) as caught:
            getattr(jobs, move)(job.id)
        assert state in str(body_of(caught.value)["message"])
        assert jobs.retrieve(job.id).status == state
        return
    answered = getattr(jobs, move)(job.id)
    assert answered.id == job.id
    assert answered.status != "paused"  # no status that `pause` may answer with, in OpenAI's specification
    assert jobs.retrieve(job.id).status == becomes


def test_events_page_newest_first(bare: Bare, bare_client: OpenAI, file_id: str) -> None:
    jobs = bare_client.fine_tuning.jobs
    job = jobs.create(model="gpt-4o", training_file=file_id)
    bare.store.jobs.record(
        job.id, *(Event(f"Step {step}", type="metrics", data={"step": step}, step=step) for step in range(1, 8))
    )
    events = list(jobs.list_events(job.id, limit=3))
    assert [event.message for event in events][:2] == ["Step 7", "Step 6"]
    assert len(events) == 8
    first = jobs.list_events(job.id, limit=3)
    assert first.has_more
    assert first.data[0].id.startswith("ftevent-")
    assert first.data[0].data == {"step": 7}
