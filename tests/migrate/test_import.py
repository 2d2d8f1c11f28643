"""Importing: files and jobs of before keep their ids in a data folder, once."""

import json
from pathlib import Path

import openai
import pytest
from click.testing import CliRunner, Result

from luthier.cli import main
from luthier.runtime import LuthierServer
from luthier.settings import Settings
from luthier.store import Store
from migrate.accounts import SUPPORT, RunningAccount, account, chat_line, jsonl


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunningAccount, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    with RunningAccount(folder / "account", account()) as running:
        words = ["migrate", "record", "--base-url", running.base_url, "--api-key", "sk-test", "--no-answers"]
        assert CliRunner().invoke(main, [*words, "--out", str(folder / "recording")]).exit_code == 0
    return running, folder / "recording"


def import_(folder: Path, data: Path, *flags: str) -> Result:
    words = ["migrate", "import", str(folder), "--data", str(data), "--lang", "en", *flags]
    result = CliRunner().invoke(main, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_old_ids_work_at_the_server(recorded: tuple[RunningAccount, Path], tmp_path: Path) -> None:
    running, recording = recorded
    document = running.document
    assert import_(recording, tmp_path / "data").exit_code == 0
    settings = Settings(host="127.0.0.1", port=0, data=tmp_path / "data", worker=False)
    with LuthierServer(settings) as server:
        client = openai.OpenAI(base_url=server.endpoint.base_url, api_key=server.endpoint.api_key, max_retries=0)
        file = client.files.retrieve("file-train1")
        assert (file.filename, file.purpose) == ("file-train1.jsonl", "fine-tune")
        assert file.status_details == f"Imported from {running.base_url}/"
        assert client.files.content("file-train1").read() == document["contents"]["file-train1"].encode()
        assert {entry.id for entry in client.files.list()} == set(document["contents"])
        job = client.fine_tuning.jobs.retrieve("ftjob-1")
        assert (job.fine_tuned_model, job.status, job.training_file) == (SUPPORT, "succeeded", "file-train1")
        assert job.metadata == {"luthier:imported_from": f"{running.base_url}/"}
        assert job.hyperparameters.n_epochs == 3
        assert len(list(client.fine_tuning.jobs.list())) == len(document["jobs"])
        events = list(client.fine_tuning.jobs.list_events("ftjob-1"))
        assert [event.message for event in events] == [f"Step {number}" for number in reversed(range(45))]
        checkpoints = list(client.fine_tuning.jobs.checkpoints.list("ftjob-1"))
        assert [checkpoint.step_number for checkpoint in checkpoints] == [20, 10]
        dpo = client.fine_tuning.jobs.retrieve("ftjob-4")
        assert dpo.method is not None
        assert dpo.method.type == "dpo"


def test_a_second_import_changes_nothing(recorded: tuple[RunningAccount, Path], tmp_path: Path) -> None:
    _, recording = recorded
    import_(recording, tmp_path)
    second = json.loads(import_(recording, tmp_path, "--json").stdout)
    assert second["files"] == second["jobs"] == []
    assert len(second["already_present"]) == 10 + 34
    assert second["missing_files"] == ["file-gone", "file-result4"]


def test_a_damaged_file_and_a_path_outside_are_not_imported(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    (folder / "files").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"base_url": "https://api.openai.com/v1"}')
    (folder / "files" / "a.jsonl").write_text("changed")
    (tmp_path / "secret").write_text("secret")
    rows = [
        {"id": "file-a", "path": "files/a.jsonl", "sha256": "0" * 64},
        {"id": "file-b", "path": "../secret"},
        {"id": "../file-c", "path": "files/a.jsonl"},
    ]
    (folder / "files.jsonl").write_text(jsonl(rows))
    result = json.loads(import_(folder, tmp_path / "data", "--json").stdout)
    assert (result["damaged_files"], result["missing_files"], result["files"]) == (["file-a"], ["file-b"], [])
    assert not (tmp_path / "data" / "file-c").exists()


def test_a_folder_of_ones_own_files(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "train.jsonl").write_text(jsonl([chat_line(number) for number in range(12)]))
    first = json.loads(import_(own, tmp_path / "data", "--json").stdout)
    assert len(first["files"]) == 1
    assert json.loads(import_(own, tmp_path / "data", "--json").stdout)["already_present"] == first["files"]
    store = Store(tmp_path / "data")
    assert store.files.retrieve(first["files"][0]).filename == "train.jsonl"
    store.files.delete(first["files"][0])
    store.close()
    assert json.loads(import_(own, tmp_path / "data", "--json").stdout)["files"] == first["files"]


def test_a_folder_with_neither_is_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = import_(tmp_path / "empty", tmp_path / "data")
    assert result.exit_code == 2
    assert "manifest.json" in result.stderr


def test_a_luthier_is_an_account_too(recorded: tuple[RunningAccount, Path], tmp_path: Path) -> None:
    _, recording = recorded
    import_(recording, tmp_path / "data")
    settings = Settings(host="127.0.0.1", port=0, data=tmp_path / "data", worker=False)
    with LuthierServer(settings) as server:
        words = ["migrate", "record", "--base-url", server.endpoint.base_url, "--api-key", server.endpoint.api_key]
        result = CliRunner().invoke(main, [*words, "--no-answers", "--json", "--out", str(tmp_path / "again")])
    manifest = json.loads(result.stdout)
    assert manifest["gaps"] == []
    assert manifest["counts"]["jobs"] == 34
    names = {path.name for path in (recording / "files").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "again" / "files").iterdir()} == {
        name: (recording / "files" / name).read_bytes() for name in names
    }
