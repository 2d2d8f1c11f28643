"""`/v1/luthier/models`: where a model comes from, its files, and exports; `server` and `migration`."""

import asyncio
import datetime as dt
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from serving import Bare, make_model

from luthier.migrate.overview import recording_overview
from luthier.server.model_exports import Export, ModelExports
from luthier.store import Event
from luthier.types.errors import NotFoundError, RateLimitError
from luthier.types.job_options import SUCCESSOR_OF

MODEL = "ft:gpt-4o-mini:personal::viewed01"
# As `luthier export`: it fails for `merged`, keeps a part for `gguf`, dies for `vllm`, and writes a folder for others.
PROGRAM = """
import json, pathlib, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
to = options["--to"]
say = lambda **document: print(json.dumps(document, indent=2), flush=True)
say(stage="writing", name=to)
if to == "merged":
    say(error={"message": "The disk is full." if options["--lang"] == "en" else "磁盘已满。", "remedy": "Make room."})
    sys.exit(2)
if to == "vllm":
    sys.exit("killed")
folder = pathlib.Path(options["--out"])
folder.mkdir()
(folder / "adapter.txt").write_text(options["--"] + options.get("--base-id", ""))
say(object="model.export", artefacts=[{"artefact": to, "exact": 3}], trained_exact=4)
if to == "gguf":
    say(error={"message": "1 of 2 artefacts was not kept.", "remedy": ""})
    sys.exit(2)
"""


def _get(bare: Bare, path: str, key: str = "none-needed", method: str = "GET", **arguments: Any) -> httpx.Response:
    with bare.http() as http:
        return http.request(method, f"/luthier/{path}", headers={"Authorization": f"Bearer {key}"}, **arguments)


@pytest.fixture(scope="module")
def viewed(bare: Bare, bare_client: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(bare, bare_client, MODEL, tmp_path_factory.mktemp("viewed") / "adapter")


def test_a_model_with_its_lineage_and_files(bare: Bare, viewed: str) -> None:
    lineage = _get(bare, f"models/{viewed}/lineage").json()
    assert (lineage["model"], lineage["data"][0]["filename"]) == (viewed, "x.jsonl")
    assert len(lineage["data"][0]["sha256"]) == 64
    assert "exports" not in lineage  # folders of this machine
    response = _get(bare, f"models/{viewed.replace(':', '%3A')}/content")
    assert response.headers["content-disposition"] == 'attachment; filename="ft-gpt-4o-mini-personal-viewed01.zip"'
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    assert archive.namelist() == ["chat_template.jinja"]
    for name in ("gpt-4o-mini", "ft:none", "../../etc"):
        assert _get(bare, f"models/{name}/lineage").status_code == 404
    assert _get(bare, f"models/{viewed}/exports", method="POST", json={"to": "--out=/x"}).status_code == 400


def test_a_damaged_model_is_not_handed_out(bare: Bare, bare_client: OpenAI, tmp_path: Path) -> None:
    name = make_model(bare, bare_client, "ft:gpt-4o-mini:personal::damaged1", tmp_path / "adapter")
    model = bare.store.models.find(name)
    assert model is not None
    (model.adapter / "chat_template.jinja").write_text("something else")
    assert _get(bare, f"models/{name}/content").json()["error"]["code"] == "corrupt_data"


def test_a_shared_model_keeps_its_files_and_its_data(keyed: Bare, a: OpenAI, tmp_path: Path) -> None:
    name = make_model(keyed, a, "ft:gpt-4o-mini:personal::shared01", tmp_path / "adapter")
    assert _get(keyed, f"models/{name}/lineage", "sk-key-of-b==").status_code == 404
    keyed.store.permissions.create(name, ["proj_b"])
    for path in ("lineage", "content", "exports"):
        assert _get(keyed, f"models/{name}/{path}", "sk-key-of-b==").status_code == 403
        assert _get(keyed, f"models/{name}/{path}", "sk-key-of-a").status_code == 200


def test_what_a_base_model_can_do(bare: Bare, viewed: str) -> None:
    """Of any name: a base model, an alias, a fine-tuned model; a name that is nobody's is refused."""
    answers = [_get(bare, f"models/{name}/abilities").json() for name in ("gpt-4o-mini", viewed)]
    assert answers[0]["base"] == answers[1]["base"]
    assert answers[0]["unusable"] is None
    rows = {row["code"]: (row["name"], row["text"]) for row in answers[0]["abilities"]}
    assert list(rows) == ["training", "calls", "turns", "reasoning", "context", "chinese"]
    assert rows["reasoning"] == ("Reasoning", "yes")
    in_chinese = _get(bare, "models/gpt-4o-mini/abilities?lang=zh").json()["abilities"]
    assert in_chinese[3] == {"code": "reasoning", "name": "推理内容", "text": "支持"}
    assert _get(bare, "models/gpt-none/abilities").status_code == 404


def _exporting(folder: Path, act: Callable[[ModelExports], Any]) -> list[Export]:
    """What `act` leaves once every export has ended."""

    async def run() -> list[Export]:
        exports = ModelExports(folder, (sys.executable, "-c", PROGRAM))
        act(exports)
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return list(exports.list("ft:m"))

    return asyncio.run(run())


def test_exports_run_one_after_the_other_and_say_why_they_fail(tmp_path: Path) -> None:
    def start(exports: ModelExports) -> None:
        exports.start("ft:m", "peft", base_id="org/base")
        exports.start("ft:m", "merged", language="zh")
        for to in ("gguf", "vllm"):
            exports.start("ft:m", to)

    newest_first = _exporting(tmp_path, start)
    assert [export.to for export in newest_first] == ["vllm", "gguf", "merged", "peft"]
    outcome = {export.to: export for export in newest_first}
    ends = {to: (export.status, export.bytes, export.error) for to, export in outcome.items()}
    assert ends == {
        "peft": ("succeeded", 12, None),
        "merged": ("failed", None, "磁盘已满。\nMake room."),
        "gguf": ("succeeded", 4, "1 of 2 artefacts was not kept."),
        "vllm": ("failed", None, "killed"),
    }
    assert (outcome["peft"].artefacts, outcome["peft"].trained_exact) == ([{"artefact": "peft", "exact": 3}], 4)
    exports = ModelExports(tmp_path)  # after a restart
    _, remaining = exports.list("ft:m")
    assert (exports.path("ft:m", remaining.id) / "adapter.txt").read_text() == "ft:morg/base"
    with pytest.raises(NotFoundError):
        exports.path("ft:other", remaining.id)
    for export in exports.list("ft:m"):
        exports.delete("ft:m", export.id)
    assert not list((tmp_path / "exports").iterdir())


def test_a_running_export_says_what_it_does(tmp_path: Path) -> None:
    program = 'import time; print(\'{"stage": "writing", "name": "é"}\', flush=True); time.sleep(60)'

    async def run() -> None:
        exports = ModelExports(tmp_path, (sys.executable, "-c", program))
        exports.start("ft:m", "peft")
        while not (stage := exports.list("ft:m")[0].stage):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert stage == {"stage": "writing", "name": "é"}
        await exports.aclose()

    asyncio.run(run())


def test_not_more_exports_wait_than_can_be_made(tmp_path: Path) -> None:
    async def run() -> None:
        exports = ModelExports(tmp_path, (sys.executable, "-c", "import time; time.sleep(60)"))
        for _ in range(8):
            exports.start("ft:m", "peft")
        with pytest.raises(RateLimitError):
            exports.start("ft:m", "peft")
        await asyncio.sleep(0.05)
        await exports.aclose()  # ends the one that runs

    asyncio.run(run())


def test_the_server_says_what_it_is_and_who_asks(bare: Bare, keyed: Bare) -> None:
    overview = _get(bare, "server").json()
    assert overview["caller"] == {"project": None, "role": "admin"}
    assert overview["workers"] == 1
    assert "/" not in overview["base"]
    assert not overview["keys_required"]
    assert _get(keyed, "server", "sk-key-of-a").json()["caller"]["role"] == "member"
    assert _get(keyed, "migration", "sk-key-of-a").status_code == 403
    assert _get(bare, "migration").json() == {
        "object": "luthier.migration", "recorded": False, "provider": None, "updated_at": None, "data": [],
    }  # fmt: skip


def test_how_far_a_migration_has_come(
    bare: Bare, bare_client: OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime(2026, 12, 1, 23, 59, tzinfo=dt.UTC)
    monkeypatch.setattr("luthier.server.routes.overview.now", now.timestamp)
    models = [
        {"id": f"ft:old-{name}", "base": "gpt-4o", "shutdown_date": date, "files": [{"role": "training", "id": name}]}
        for name, date in (("late", None), ("a", "2027-01-15"))
    ]
    (tmp_path / "inventory.json").write_text(json.dumps({"provider": "openai", "models": models}))
    answers = [{"model": "ft:old-a", "questions": 12, "answered": 10}]
    manifest = {"updated_at": "2026-11-30T00:00:00+00:00", "answers": answers, "files": {"a": {"path": "files/a"}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    state = bare.app.state.luthier
    monkeypatch.setattr(state, "read_recording", lambda: recording_overview(tmp_path))
    file = bare_client.files.create(file=("t.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    settings = {"model": "gpt-4o-mini", "training_file": file.id, "metadata": {SUCCESSOR_OF: "ft:old-a"}}
    job_id = bare_client.fine_tuning.jobs.create(**settings).id
    first, last = _get(bare, "migration").json()["data"]
    assert (first["model"], first["days_left"], first["answered"], first["questions"]) == ("ft:old-a", 45, 10, 12)
    assert (first["files"], first["job"], first["successor"], first["switched"]) == (True, job_id, None, False)
    assert (last["days_left"], last["job"], last["files"]) == (None, None, False)
    done = Event("The job is over")
    bare.store.jobs.transition(job_id, ("validating_files",), "succeeded", done, fine_tuned_model="ft:new")
    assert _get(bare, "migration").json()["data"][0]["successor"] == "ft:new"
    (tmp_path / "inventory.json").write_text("{")
    response = _get(bare, "migration")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "recording_unreadable")
    assert "inventory.json" in response.json()["error"]["message"]
