"""`/v1/models`, with fine-tuned models added through the store."""

from pathlib import Path
from urllib.parse import quote

import openai
import pytest
from openai import OpenAI
from serving import Bare, body_of

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.store import Event

TOOL = {"type": "function", "function": {"name": "ping"}}
LINE = b'{"messages": []}\n'


@pytest.fixture
def tuned(bare: Bare, tmp_path: Path, tiny_base: Path) -> str:
    """The name of a fine-tuned model with an empty adapter folder, which can be listed and deleted."""
    client = bare.client()
    file = client.files.create(file=("x.jsonl", LINE), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    (tmp_path / "adapter").mkdir()
    AdapterMetadata("tools", definitions=[TOOL]).write(tmp_path / "adapter")
    name = f"ft:gpt-4o-mini-2024-07-18:personal:a-b:{job.id[-8:]}"
    row = bare.store.jobs.get(job.id)
    bare.store.models.add_checkpoint(
        row, name=name, step=1, metrics={}, source=tmp_path / "adapter", call_form=None, event=Event("made"), keep=3
    )
    return name


def test_list_names_bases_aliases_and_fine_tuned_models(bare_client: OpenAI, tuned: str) -> None:
    models = {model.id: model for model in bare_client.models.list()}
    assert {"gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-3.5-turbo", tuned} <= set(models)
    assert models[tuned].owned_by == "personal"
    assert all(model.object == "model" for model in models.values())


def test_no_path_of_this_machine_is_told(bare_client: OpenAI, tiny_base: Path, tuned: str) -> None:
    fields = bare_client.models.list().model_dump_json() + bare_client.models.retrieve("gpt-4o").model_dump_json()
    fields += bare_client.models.retrieve(tuned).model_dump_json()
    assert str(tiny_base.parent) not in fields


def test_retrieve(bare_client: OpenAI, bare: Bare, tuned: str) -> None:
    assert bare_client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    listed = bare_client.models.retrieve(tuned)
    assert listed.id == tuned
    assert listed.to_dict()["tools"] == [TOOL]
    with bare.http() as http:  # as some clients send it, and as others do
        for spelled in (tuned, quote(tuned, safe="")):
            assert http.get(f"/models/{spelled}").json()["id"] == tuned


@pytest.mark.parametrize("name", ["gpt-nope", "a/b:c", "ft:gpt-4o-mini:x::y", "../files", "/etc", "%00", "中"])
def test_an_unknown_model_is_not_found(bare: Bare, name: str) -> None:
    with bare.http() as http:
        for method in ("GET", "DELETE"):
            answer = http.request(method, f"/models/{quote(name, safe='')}")
            assert answer.status_code == 404, answer.text
            assert answer.json()["error"]["code"] in ("model_not_found", None)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/models/", "/models"),
        ("/models//", "/models"),
        ("/models/gpt-4o-mini/", "/models/gpt-4o-mini"),
        ("/models/gpt-4o-mini//", "/models/gpt-4o-mini"),
        ("/models/a/b:c/", "/models/a/b:c"),
        ("/luthier/models/gpt-4o-mini/abilities/", "/luthier/models/gpt-4o-mini/abilities"),
        ("/fine_tuning/checkpoints/ft:a/permissions/", "/fine_tuning/checkpoints/ft:a/permissions"),
        ("/files/", "/files"),
    ],
)
def test_a_trailing_slash_is_redirected(bare: Bare, path: str, target: str) -> None:
    """As on every path: a model's name may hold a slash, but does not end with one."""
    with bare.http() as http:
        answer = http.get(path)
    assert (answer.status_code, answer.headers["location"].endswith(f"/v1{target}")) == (307, True), answer.headers


def test_heads_without_bodies(bare: Bare, tuned: str) -> None:
    with bare.http() as http:
        for path in ("/models", "/models/gpt-4o-mini", f"/models/{tuned}", "/models/nobody", "/../health", "/../ready"):
            whole, head = http.get(path), http.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b"")
            assert head.headers["content-type"] == whole.headers["content-type"]
            assert int(head.headers["content-length"]) == len(whole.content)


def test_delete(bare_client: OpenAI, tuned: str) -> None:
    deleted = bare_client.models.delete(tuned)
    assert (deleted.id, deleted.deleted) == (tuned, True)
    with pytest.raises(openai.NotFoundError) as caught:
        bare_client.models.delete(tuned)
    assert body_of(caught.value)["code"] == "model_not_found"
    assert tuned not in [model.id for model in bare_client.models.list()]


@pytest.mark.parametrize("name", ["gpt-4o-mini", "smollm2-135m-instruct"])
def test_only_fine_tuned_models_can_be_deleted(bare_client: OpenAI, name: str) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        bare_client.models.delete(name)
