"""`/v1/fine_tuning/checkpoints/{name}/permissions`: models are shared while the permission exists."""

import itertools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, body_of, make_model

HELLO: Any = [{"role": "user", "content": "hello"}]
NUMBERS = itertools.count(1)


@pytest.fixture
def tuned(keyed: Bare, a: OpenAI, tmp_path: Path) -> str:
    """A new checkpoint of project A."""
    name = f"ft:gpt-4o-mini-2024-07-18:personal:shared:{next(NUMBERS):08}:ckpt-step-1"
    return make_model(keyed, a, name, tmp_path / "adapter")


@pytest.fixture
def http(keyed: Bare) -> httpx.Client:
    headers = {"authorization": "Bearer sk-key-of-all"}
    return httpx.Client(base_url=f"{keyed.url}/v1/fine_tuning/checkpoints", headers=headers)


def test_a_model_can_be_used_while_it_is_shared(
    a: OpenAI, b: OpenAI, everybody: OpenAI, engine: ScriptedEngine, tuned: str
) -> None:
    engine.say("hello")
    file = b.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune").id

    def uses(client: OpenAI) -> list[bool]:
        return [
            _works(lambda: client.chat.completions.create(model=tuned, messages=HELLO)),
            _works(lambda: list(client.chat.completions.create(model=tuned, messages=HELLO, stream=True))),
            _works(lambda: client.models.retrieve(tuned)),
            _works(lambda: client.fine_tuning.jobs.create(model=tuned, training_file=file)),
        ]

    permissions = everybody.fine_tuning.checkpoints.permissions
    assert uses(b) == [False] * 4
    (granted,) = permissions.create(tuned, project_ids=["proj_b"])
    assert uses(b) == [True] * 4
    assert permissions.delete(granted.id, fine_tuned_model_checkpoint=tuned).deleted
    assert uses(b) == [False] * 4
    assert _works(lambda: a.chat.completions.create(model=tuned, messages=HELLO))


def _works(call: Any) -> bool:
    try:
        call()
    except (openai.NotFoundError, openai.BadRequestError) as error:
        if error.code in ("model_not_found", "model_not_available"):
            return False
        raise
    return True


def test_a_shared_model_is_not_ones_own(a: OpenAI, b: OpenAI, everybody: OpenAI, tuned: str) -> None:
    everybody.fine_tuning.checkpoints.permissions.create(tuned, project_ids=["proj_b"])
    with pytest.raises(openai.PermissionDeniedError):
        b.models.delete(tuned)
    assert a.models.delete(tuned).deleted
    for client in (b, everybody):  # nothing of it is left
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(tuned)
    with pytest.raises(openai.NotFoundError):
        everybody.fine_tuning.checkpoints.permissions.list(tuned)


def test_permissions_come_as_openai_sends_them(http: httpx.Client, tuned: str) -> None:
    created = http.post(f"/{tuned}/permissions", json={"project_ids": ["proj_1", "proj_2", "proj_1"]}).json()
    assert (created["object"], created["has_more"]) == ("list", False)
    assert [set(entry) for entry in created["data"]] == [{"id", "object", "created_at", "project_id"}] * 2
    assert [entry["project_id"] for entry in created["data"]] == ["proj_1", "proj_2"]
    assert (created["first_id"], created["last_id"]) == (created["data"][0]["id"], created["data"][1]["id"])
    entry = created["data"][0]
    assert entry["object"] == "checkpoint.permission"
    assert entry["id"].startswith("cp_")
    repeated = http.post(f"/{quote(tuned, safe='')}/permissions", json={"project_ids": ["proj_2", "proj_3"]}).json()
    assert repeated["data"][0] == created["data"][1]  # given once
    deleted = http.delete(f"/{quote(tuned, safe='')}/permissions/{entry['id']}").json()
    assert deleted == {"id": entry["id"], "object": "checkpoint.permission", "deleted": True}
    empty = http.get(f"/{tuned}/permissions", params={"project_id": "proj_1"}).json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_pages_both_ways(everybody: OpenAI, tuned: str) -> None:
    permissions = everybody.fine_tuning.checkpoints.permissions
    names = [f"proj_{number}" for number in range(7)]
    permissions.create(tuned, project_ids=names)
    assert [entry.project_id for entry in permissions.list(tuned, limit=3)] == names[::-1]
    assert [entry.project_id for entry in permissions.list(tuned, limit=3, order="ascending")] == names
    (only,) = permissions.list(tuned, project_id="proj_4")
    assert only.project_id == "proj_4"
    with pytest.warns(DeprecationWarning, match="paginated list"):
        page = permissions.retrieve(tuned, limit=2, order="ascending", after=only.id)
    assert ([entry.project_id for entry in page.data], page.has_more) == (["proj_5", "proj_6"], False)
    assert page.last_id == page.data[-1].id
    with pytest.warns(DeprecationWarning, match="paginated list"):
        assert len(permissions.retrieve(tuned).data) == 7
    empty = permissions.list(tuned, limit=0)
    assert (empty.data, empty.has_more) == ([], False)


def test_only_admin_keys_may(a: OpenAI, b: OpenAI, tuned: str) -> None:
    """Including the key of the project that owns the model."""
    for client in (a, b):
        permissions = client.fine_tuning.checkpoints.permissions
        for call in (
            lambda: permissions.create(tuned, project_ids=["proj_b"]),  # noqa: B023
            lambda: permissions.list(tuned),  # noqa: B023
            lambda: permissions.delete("cp_x", fine_tuned_model_checkpoint=tuned),  # noqa: B023
        ):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                call()
            assert str(body_of(caught.value)["message"]).startswith("You have insufficient permissions")


def test_an_admin_that_acts_as_a_project_shares_that_projects(keyed: Bare, tuned: str) -> None:
    assert keyed.client(api_key="sk-key-of-all", project="proj_a").fine_tuning.checkpoints.permissions.create(
        tuned, project_ids=["proj_b"]
    )
    as_b = keyed.client(api_key="sk-key-of-all", project="proj_b").fine_tuning.checkpoints.permissions
    with pytest.raises(openai.NotFoundError):  # to be used, not to be passed on
        as_b.create(tuned, project_ids=["proj_c"])


@pytest.mark.parametrize("name", ["ft:gpt-4o-mini:personal::nope", "gpt-4o-mini", "a/b"])
def test_what_is_no_checkpoint(everybody: OpenAI, http: httpx.Client, tuned: str, name: str) -> None:
    permissions = everybody.fine_tuning.checkpoints.permissions
    with pytest.raises(openai.NotFoundError) as caught:
        permissions.list(name)
    assert body_of(caught.value) == {
        "message": f"The model '{name}' does not exist",
        "type": "invalid_request_error",
        "param": "fine_tuned_model_checkpoint",
        "code": "model_not_found",
    }
    (granted,) = permissions.create(tuned, project_ids=["proj_b"])
    for checkpoint, permission in ((tuned, "cp_nope"), (name, granted.id)):
        assert http.delete(f"/{quote(checkpoint, safe='')}/permissions/{permission}").status_code == 404


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "project_ids", "missing_required_parameter"),
        ({"project_ids": []}, "project_ids", "empty_array"),
        ({"project_ids": "proj_b"}, "project_ids", "invalid_type"),
        ({"project_ids": [1]}, "project_ids[0]", "invalid_type"),
        ({"project_ids": ["a/b"]}, "project_ids[0]", "invalid_value"),
        ({"project_ids": ["proj_b"], "role": "reader"}, "role", "unknown_parameter"),
    ],
)
def test_create_refuses(http: httpx.Client, tuned: str, body: dict[str, Any], param: str, code: str) -> None:
    answer = http.post(f"/{tuned}/permissions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize("query", ["order=asc", "limit=-1", "limit=x"])
def test_list_refuses(http: httpx.Client, tuned: str, query: str) -> None:
    answer = http.get(f"/{tuned}/permissions?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])
