"""Projects: for one project the rows of another do not exist, in the same words."""

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, body_of, make_model

LINE = b'{"messages": []}\n'
NAME = "ft:gpt-4o-mini-2024-07-18:personal:shared:00000001"


@pytest.fixture(scope="module")
def file_id(a: OpenAI) -> str:
    return a.files.create(file=("x.jsonl", LINE), purpose="fine-tune").id


@pytest.fixture(scope="module")
def upload_id(a: OpenAI) -> str:
    return a.uploads.create(filename="x.jsonl", purpose="fine-tune", bytes=1, mime_type="text/jsonl").id


@pytest.fixture(scope="module")
def job_id(a: OpenAI, file_id: str) -> str:
    return a.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file_id).id


@pytest.fixture(scope="module")
def tuned(keyed: Bare, a: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(keyed, a, NAME, tmp_path_factory.mktemp("adapter") / "adapter")


_CALLS: list[tuple[str, Callable[[OpenAI, dict[str, str]], Any]]] = [
    ("file", lambda client, ids: client.files.retrieve(ids["file"])),
    ("file", lambda client, ids: client.files.content(ids["file"])),
    ("file", lambda client, ids: client.files.delete(ids["file"])),
    ("upload", lambda client, ids: client.uploads.cancel(ids["upload"])),
    ("upload", lambda client, ids: client.uploads.complete(ids["upload"], part_ids=[])),
    ("upload", lambda client, ids: client.uploads.parts.create(ids["upload"], data=b"x")),
    ("job", lambda client, ids: client.fine_tuning.jobs.retrieve(ids["job"])),
    ("job", lambda client, ids: client.fine_tuning.jobs.cancel(ids["job"])),
    ("job", lambda client, ids: client.fine_tuning.jobs.pause(ids["job"])),
    ("job", lambda client, ids: client.fine_tuning.jobs.resume(ids["job"])),
    ("job", lambda client, ids: client.fine_tuning.jobs.list_events(ids["job"])),
    ("job", lambda client, ids: client.fine_tuning.jobs.checkpoints.list(ids["job"])),
    ("model", lambda client, ids: client.models.retrieve(ids["model"])),
    ("model", lambda client, ids: client.models.delete(ids["model"])),
    ("model", lambda client, ids: client.chat.completions.create(model=ids["model"], messages=[_HELLO])),
]
_HELLO: Any = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(("kind", "call"), _CALLS, ids=range(len(_CALLS)))
def test_what_is_anothers_is_not_found(
    b: OpenAI,
    file_id: str,
    upload_id: str,
    job_id: str,
    tuned: str,
    kind: str,
    call: Callable[[OpenAI, dict[str, str]], Any],
) -> None:
    """The error is identical to that for an id that never existed."""
    ids = {"file": file_id, "upload": upload_id, "job": job_id, "model": tuned}
    unknown = {kind: value[:-1] + "?" for kind, value in ids.items()}
    with pytest.raises(openai.NotFoundError) as caught:
        call(b, ids)
    with pytest.raises(openai.NotFoundError) as never:
        call(b, unknown)
    message, expected = body_of(caught.value), body_of(never.value)
    expected["message"] = str(expected["message"]).replace(unknown[kind], ids[kind])
    assert message == expected


def test_lists_show_what_is_ones_own(
    a: OpenAI, b: OpenAI, everybody: OpenAI, file_id: str, job_id: str, tuned: str
) -> None:
    for client, there in ((a, True), (b, False), (everybody, True)):
        assert (file_id in [file.id for file in client.files.list()]) is there
        assert (job_id in [job.id for job in client.fine_tuning.jobs.list()]) is there
        assert (tuned in [model.id for model in client.models.list()]) is there


def test_a_job_needs_files_and_a_model_of_its_project(b: OpenAI, file_id: str, tuned: str) -> None:
    own = b.files.create(file=("x.jsonl", LINE), purpose="fine-tune").id
    for params, message in (
        ({"training_file": file_id, "model": "gpt-4o"}, f"invalid training_file: {file_id}"),
        ({"training_file": own, "validation_file": file_id, "model": "gpt-4o"}, f"invalid validation_file: {file_id}"),
        ({"training_file": own, "model": tuned}, f"Model {tuned} is not available"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            b.fine_tuning.jobs.create(**params)
        assert str(body_of(caught.value)["message"]).startswith(message)


def test_an_upload_becomes_a_file_of_its_project(a: OpenAI, b: OpenAI, everybody: OpenAI) -> None:
    """Also when a key of the whole organization completes the upload."""
    upload = a.uploads.create(filename="x.jsonl", purpose="fine-tune", bytes=3, mime_type="text/jsonl")
    part = a.uploads.parts.create(upload.id, data=b"{}\n")
    file = everybody.uploads.complete(upload.id, part_ids=[part.id]).file
    assert file is not None
    assert a.files.retrieve(file.id).bytes == 3
    with pytest.raises(openai.NotFoundError):
        b.files.retrieve(file.id)


def test_two_keys_of_a_project_are_one(keyed: Bare, file_id: str) -> None:
    assert keyed.client(api_key="sk-second-of-a").files.retrieve(file_id).id == file_id


def test_a_key_of_the_organization_acts_as_the_project_it_names(
    keyed: Bare, everybody: OpenAI, a: OpenAI, b: OpenAI, file_id: str
) -> None:
    as_b = keyed.client(api_key="sk-key-of-all", project="proj_b")
    with pytest.raises(openai.NotFoundError):
        as_b.files.retrieve(file_id)
    created = as_b.files.create(file=("y.jsonl", LINE), purpose="fine-tune").id
    assert b.files.retrieve(created).id == created
    own = everybody.files.create(file=("z.jsonl", LINE), purpose="fine-tune").id  # of the default project
    assert keyed.client(api_key="sk-key-of-all", project="default").files.retrieve(own).id == own
    for client in (a, b):
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(own)


def test_an_answer_is_given_again_in_its_project_only(keyed: Bare) -> None:
    def create(project: str) -> str:
        client = keyed.client(api_key="sk-key-of-all", project=project, default_headers={"idempotency-key": "once"})
        return client.uploads.create(filename="x.jsonl", purpose="fine-tune", bytes=1, mime_type="text/jsonl").id

    assert create("proj_a") == create("proj_a") != create("proj_b")


@pytest.mark.parametrize(("project", "code"), [("proj_b", "mismatched_project"), ("a/b", "invalid_project")])
def test_a_key_of_a_project_names_no_other(keyed: Bare, project: str, code: str) -> None:
    assert keyed.client(api_key="sk-key-of-a", project="proj_a").models.list().data
    with pytest.raises(openai.AuthenticationError) as caught:
        keyed.client(api_key="sk-key-of-a", project=project).models.list()
    assert body_of(caught.value)["code"] == code


@pytest.mark.parametrize("params", ["proj_a=sk-key-of-a", "proj_a", "sk-key-of-b", "=sk-key-of-all"])
def test_the_project_is_no_part_of_the_key(keyed: Bare, params: str) -> None:
    with httpx.Client(base_url=keyed.url, headers={"authorization": f"Bearer {params}"}) as http:
        assert http.get("/v1/models").status_code == 401


def test_without_keys_everything_is_there_and_a_project_may_be_named(bare: Bare) -> None:
    in_a = bare.client(project="proj_a").files.create(file=("x.jsonl", LINE), purpose="fine-tune").id
    assert bare.client().files.retrieve(in_a).id == in_a
    with pytest.raises(openai.NotFoundError):
        bare.client(project="proj_b").files.retrieve(in_a)


def test_the_view_of_a_project_is_built_once(keyed: Bare) -> None:
    state = keyed.app.state.luthier
    assert state.within("proj_a") is state.within("proj_a")
    assert state.within("proj_a").store is not state.within("proj_b").store
