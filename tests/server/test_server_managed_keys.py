"""Keys that the server manages: roles, projects, limits, rotation, revocation; and the audit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving import Bare, ScriptedEngine, bare_server

from luthier.server.http.key_ring import KeyRing
from luthier.store import Store
from luthier.types.common import now

ROOT = "sk-of-the-operator"


@pytest.fixture(name="managed", scope="module")
def _managed(tiny_base: Path, engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    with bare_server(tmp_path_factory.mktemp("managed"), tiny_base, engine, api_keys=ROOT) as running:
        yield running


def _create(bare: Bare, **fields: Any) -> dict[str, Any]:
    body = {"name": "test", **fields}
    response = bare.client(api_key=ROOT).post("/luthier/keys", body=body, cast_to=httpx.Response)
    created: dict[str, Any] = response.json()
    return created


def test_a_key_works_until_it_is_revoked_and_is_shown_once(managed: Bare) -> None:
    created = _create(managed, name="ci")
    client = managed.client(api_key=created["value"])
    client.files.list()
    listed = managed.client(api_key=ROOT).get("/luthier/keys", cast_to=httpx.Response)
    assert created["value"] not in listed.text
    assert created["value"].endswith(created["hint"])
    assert created["value"].encode() not in (managed.store.files.folder.parent / "luthier.db-wal").read_bytes()
    managed.client(api_key=ROOT).delete(f"/luthier/keys/{created['id']}", cast_to=httpx.Response)
    with pytest.raises(openai.AuthenticationError):
        client.files.list()
    status = managed.client(api_key=ROOT).get("/luthier/keys", cast_to=httpx.Response).json()["data"][0]["status"]
    assert status == "revoked"


def test_a_rotated_key_has_a_new_secret(managed: Bare) -> None:
    created = _create(managed)
    rotated = managed.client(api_key=ROOT).post(f"/luthier/keys/{created['id']}/rotate", cast_to=httpx.Response).json()
    assert (rotated["id"], rotated["name"]) == (created["id"], created["name"])
    managed.client(api_key=rotated["value"]).files.list()
    with pytest.raises(openai.AuthenticationError):
        managed.client(api_key=created["value"]).files.list()


def test_an_expired_key_is_refused(managed: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    created = _create(managed, expires_in_s=60)
    client = managed.client(api_key=created["value"])
    client.files.list()
    monkeypatch.setattr("luthier.store.api_keys.now", lambda: created["created_at"] + 61)
    with pytest.raises(openai.AuthenticationError):
        client.files.list()


def test_another_process_revokes_within_seconds(managed: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    created = _create(managed)
    client = managed.client(api_key=created["value"])
    client.files.list()
    managed.store.api_keys.revoke(created["id"])
    monkeypatch.setattr("luthier.server.http.key_ring._TRUSTED_S", 0.0)
    with pytest.raises(openai.AuthenticationError):
        client.files.list()


def test_a_reader_reads_and_does_nothing_else(managed: Bare, engine: ScriptedEngine) -> None:
    client = managed.client(api_key=_create(managed, role="reader")["value"])
    client.models.list()
    engine.say("hello")
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(openai.PermissionDeniedError):
        client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune")


@pytest.mark.parametrize(("role", "allowed"), [("admin", True), ("member", False), ("reader", False)])
def test_only_admins_manage_keys_and_read_metrics(managed: Bare, role: str, allowed: bool) -> None:
    headers = {"Authorization": f"Bearer {_create(managed, role=role)['value']}"}
    for path in ("/metrics", "/v1/luthier/keys", "/v1/luthier/audit"):
        assert httpx.get(managed.url + path, headers=headers).status_code == (200 if allowed else 403)


def test_a_key_sees_its_project_and_an_admin_of_it_its_keys(managed: Bare) -> None:
    weather = _create(managed, project="proj_weather", role="admin")
    client = managed.client(api_key=weather["value"])
    file = client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune")
    other = managed.client(api_key=_create(managed, project="proj_other")["value"])
    with pytest.raises(openai.NotFoundError):
        other.files.retrieve(file.id)
    own_key = client.post("/luthier/keys", body={"name": "mine"}, cast_to=httpx.Response).json()
    assert own_key["project"] == "proj_weather"
    ids = [key["id"] for key in client.get("/luthier/keys", cast_to=httpx.Response).json()["data"]]
    assert set(ids) == {own_key["id"], weather["id"]}
    with pytest.raises(openai.BadRequestError):
        client.post("/luthier/keys", body={"name": "x", "project": "proj_other"}, cast_to=httpx.Response)
    with pytest.raises(openai.NotFoundError):
        client.delete(f"/luthier/keys/{_create(managed)['id']}", cast_to=httpx.Response)


def test_a_key_has_limits_of_its_own(managed: Bare, engine: ScriptedEngine) -> None:
    engine.say("hello")
    message = [{"role": "user", "content": "hi"}]
    limited = managed.client(api_key=_create(managed, requests_per_minute=2)["value"])
    for _ in range(2):
        limited.chat.completions.create(model="gpt-4o-mini", messages=message, max_tokens=1)
    with pytest.raises(openai.RateLimitError):
        limited.chat.completions.create(model="gpt-4o-mini", messages=message, max_tokens=1)
    managed.client(api_key=ROOT).chat.completions.create(model="gpt-4o-mini", messages=message, max_tokens=1)


def test_a_key_has_limits_on_what_it_stores(managed: Bare) -> None:
    """Files and pending uploads count together, until they are deleted or cancelled; another key has its own."""
    limited = managed.client(api_key=_create(managed, max_bytes=1000)["value"])

    def upload(client: openai.OpenAI, size_bytes: int) -> str:
        return client.files.create(file=("x.jsonl", b"x" * size_bytes), purpose="assistants").id

    file_id = upload(limited, 600)
    with pytest.raises(openai.RateLimitError, match="1,000 bytes, they hold 600, and 401 were requested") as refused:
        upload(limited, 401)
    assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")
    assert refused.value.response.headers["x-should-retry"] == "false"
    pending = {"filename": "y.txt", "purpose": "assistants", "mime_type": "text/plain"}
    with pytest.raises(openai.RateLimitError):
        limited.uploads.create(bytes=401, **pending)
    reserved = limited.uploads.create(bytes=400, **pending)
    with pytest.raises(openai.RateLimitError):
        upload(limited, 1)
    part = limited.uploads.parts.create(reserved.id, data=b"y" * 400)
    completed = limited.uploads.complete(reserved.id, part_ids=[part.id])
    with pytest.raises(openai.RateLimitError):
        upload(limited, 1)
    limited.files.delete(completed.file.id)
    limited.uploads.cancel(limited.uploads.create(bytes=400, **pending).id)
    limited.files.delete(file_id)
    upload(limited, 1000)
    upload(managed.client(api_key=ROOT), 1001)


def test_a_key_has_a_limit_on_unfinished_jobs(managed: Bare) -> None:
    limited = managed.client(api_key=_create(managed, max_jobs=1)["value"])
    file = limited.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune")
    job = limited.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    with pytest.raises(openai.RateLimitError, match="Limit 1, Used 1, Requested 1") as refused:
        limited.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    assert refused.value.code == "rate_limit_exceeded"
    managed.client(api_key=ROOT).fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    limited.fine_tuning.jobs.cancel(job.id)
    limited.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)


def test_the_audit_log_says_who_changed_what(managed: Bare, engine: ScriptedEngine) -> None:
    key = _create(managed, project="proj_audit")
    client = managed.client(api_key=key["value"])
    file = client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune")
    client.files.list()
    engine.say("hello")
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=1)
    criterion = {"type": "string_check", "name": "same", "input": "a", "reference": "a", "operation": "eq"}
    grade: Any = client.post("/evaluations/grade", body={"criterion": criterion, "item": {}}, cast_to=object)
    assert grade["passed"]
    with pytest.raises(openai.NotFoundError):
        client.files.delete("file-nope")
    client.files.delete(file.id)
    entries = managed.client(api_key=ROOT).get("/luthier/audit", cast_to=httpx.Response).json()["data"]
    of_key = [(entry["action"], entry["path"]) for entry in entries if entry["key_id"] == key["id"]]
    assert of_key == [
        ("DELETE /v1/files/{file_id}", f"/v1/files/{file.id}"),
        ("POST /v1/files", "/v1/files"),
    ]
    assert {entry["project"] for entry in entries if entry["key_id"] == key["id"]} == {"proj_audit"}
    assert all(entry["request_id"].startswith("req_") for entry in entries)


def test_without_configured_keys_the_first_managed_one_closes_the_server(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def create(**options: Any) -> dict[str, Any]:
        client = running.client(**options)
        created: dict[str, Any] = client.post("/luthier/keys", body=admin, cast_to=httpx.Response).json()
        return created

    def revoke(key: dict[str, Any], secret: str) -> bool:
        client = running.client(api_key=secret)
        is_last: bool = client.delete(f"/luthier/keys/{key['id']}", cast_to=httpx.Response).json()["is_last"]
        return is_last

    admin = {"name": "admin", "role": "admin"}
    with bare_server(tmp_path / "data", tiny_base) as running:
        assert running.client().files.list().data == []
        first = create()
        assert first["is_first"]
        with pytest.raises(openai.AuthenticationError):
            running.client().files.list()
        second = create(api_key=first["value"])
        assert not second["is_first"]
        assert not revoke(first, second["value"])
        with pytest.raises(openai.AuthenticationError):
            running.client().files.list()
        assert revoke(second, second["value"])
        running.client().files.list()
    assert f"{first['id']} is the first key of this server: requests without a key get status 401" in caplog.text
    assert f"{second['id']} was the last key of this server" in caplog.text


def test_no_server_opens_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its last key expires, or when other machines reach it and its last key is revoked."""
    store = Store(tmp_path)
    key, _ = store.api_keys.create("ci", project=None, role="member", expires_at=now() + 60)
    monkeypatch.setattr("luthier.store.api_keys.now", lambda: key.created_at + 61)
    assert KeyRing({}, store.api_keys).is_required()
    store.api_keys.revoke(key.id)
    assert not KeyRing({}, store.api_keys).is_required()
    assert KeyRing({}, store.api_keys, is_reachable=True).is_required()
    store.close()
