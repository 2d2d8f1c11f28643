"""Importing: files and jobs of before keep their ids in a data folder, once."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner, Result

from luthier.cli import main
from luthier.runtime import LuthierServer
from luthier.settings import Settings
from luthier.store import Store
from migrate.accounts import SUPPORT, RunningAccount, account, chat_line, jsonl, small_account

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunningAccount, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    with RunningAccount(folder / "account", account()) as running:
        words = ["migrate", "record", "--base-url", running.base_url, "--api-key", "sk-test", "--max-cost", "5"]
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
        answers = {file.id: file for file in client.files.list(purpose="evals")}
        assert {file.id for file in client.files.list()} == {*document["contents"], *answers}
        assert len(answers) == 3
        recorded_line = json.loads(client.files.content(next(iter(answers))).read().splitlines()[0])
        assert recorded_line["response"]["usage"]["total_tokens"] == 15
        job = client.fine_tuning.jobs.retrieve("ftjob-1")
        assert (job.fine_tuned_model, job.status, job.training_file) == (SUPPORT, "succeeded", "file-train1")
        assert job.metadata == {"luthier:imported_from": f"{running.base_url}/"}
        assert job.hyperparameters.n_epochs == 3
        assert len(list(client.fine_tuning.jobs.list())) == len(document["jobs"])
        events = list(client.fine_tuning.jobs.list_events("ftjob-1"))
        assert [event.message for event in events] == [f"Step {number}" for number in reversed(range(45))]
        checkpoints = list(client.fine_tuning.jobs.checkpoints.list("ftjob-1"))
        assert [checkpoint.step_number for checkpoint in checkpoints] == [20, 10]
        batch = client.batches.retrieve("batch_1")
        assert (batch.status, batch.output_file_id) == ("completed", "file-batchout")
        assert client.files.content("file-batchout").read() == document["contents"]["file-batchout"].encode()
        assert client.files.retrieve("file-result1").purpose == "fine-tune-results"
        stored = list(
            client.chat.completions.list(model=SUPPORT, metadata={"luthier:imported_from": file.status_details[14:]})
        )
        assert [entry.id for entry in stored] == [entry["id"] for entry in document["stored"]]
        [message] = client.chat.completions.messages.list("chatcmpl-3").data
        assert message.content == "stored chatcmpl-3"
        dpo = client.fine_tuning.jobs.retrieve("ftjob-4")
        assert dpo.method is not None
        assert dpo.method.type == "dpo"


def test_a_second_import_changes_nothing(recorded: tuple[RunningAccount, Path], tmp_path: Path) -> None:
    _, recording = recorded
    import_(recording, tmp_path)
    second = json.loads(import_(recording, tmp_path, "--json").stdout)
    assert second["files"] == second["jobs"] == []
    assert second["batches"] == second["stored_completions"] == []
    assert len(second["already_present"]) == 10 + 34 + 1 + 25
    assert len(second["answers"]) == 3
    assert "ftjob-3" in second["untrainable"]  # trained on images
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


def test_a_mixed_folder_of_ones_own(tmp_path: Path) -> None:
    own, example = tmp_path / "own", chat_line(1)
    pair = {"input": {"messages": example["messages"][:1]}, "preferred_output": example["messages"][1:],
            "non_preferred_output": example["messages"][1:]}  # fmt: skip
    contents = {
        "2024/train.jsonl": jsonl([example]),
        "2025/train.jsonl": jsonl([example]),  # the same name, and even the same content
        "pairs.jsonl": jsonl([pair]),
        "texts.JSONL": jsonl([{"prompt": "a", "completion": "b"}]),
        "logs.jsonl": jsonl([{"time": 1, "level": "info"}]),
        "cut.jsonl": jsonl([example]) + '{"messages": [{"role": "us',
        "empty.jsonl": "",
        "utf16.jsonl": jsonl([example]).encode("utf-16"),
        "results.csv": "step,loss\n",
        ".cache/x.jsonl": "rubbish",
    }
    for name, content in contents.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = import_(own, tmp_path / "data", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    store = Store(tmp_path / "data")
    names = [store.files.retrieve(file_id).filename for file_id in document["files"]]
    store.close()
    assert names == ["2024/train.jsonl", "2025/train.jsonl", "pairs.jsonl", "texts.JSONL"]
    assert document["other_files"] == 1
    faults = document["faults"]
    assert {name: fault.partition(":")[0] for name, fault in faults.items()} == {
        "logs.jsonl": "line 1", "cut.jsonl": "line 2", "empty.jsonl": "the file is empty", "utf16.jsonl": "line 1",
    }  # fmt: skip
    assert "luthier check" in import_(own, tmp_path / "data").output


def test_a_folder_with_neither_is_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = import_(tmp_path / "empty", tmp_path / "data")
    assert result.exit_code == 2
    assert "manifest.json" in result.stderr


def new_recording(folder: Path, **documents: str) -> Path:
    """A recording with these documents, by name without the ending."""
    documents = {"manifest.json": '{"base_url": "https://api.openai.com/v1"}', **documents}
    for name, content in documents.items():
        path = folder / (name if "." in name else name + ".jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_recording_whose_first_run_was_killed_is_one(tmp_path: Path) -> None:
    document = account()
    folder = new_recording(tmp_path / "recording", **{"inventory.json": "{}", "jobs": jsonl(document["jobs"][:1])})
    (folder / "manifest.json").unlink()
    assert json.loads(import_(folder, tmp_path / "data", "--json").stdout)["jobs"] == ["ftjob-1"]


def test_answers_of_a_longer_recording_replace_the_shorter_ones(tmp_path: Path) -> None:
    lines = [jsonl([{"custom_id": f"q-{number}", "model": SUPPORT}]) for number in range(2)]
    store = Store(tmp_path / "data")
    ids = set()
    for content in (lines[0], lines[0] + lines[1]):
        folder = new_recording(tmp_path / "recording", **{"answers/support": content})
        file_id = json.loads(import_(folder, tmp_path / "data", "--json").stdout)["answers"][SUPPORT]
        ids.add(file_id)
        file = store.files.retrieve(file_id)
        assert (store.files.path(file_id).read_text(), file.bytes) == (content, len(content))
        assert (file.purpose, file.filename) == ("evals", "answers-support.jsonl")
    assert len(ids) == 1
    store.close()


def test_what_cannot_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_STORED_COMPLETIONS", "2")
    message = {"role": "assistant", "content": "hi"}
    stored: list[dict[str, Any]] = [
        {"id": f"chatcmpl-{n}", "created": n, "model": "m", "messages": None,
         "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]} for n in range(4)
    ]  # fmt: skip
    stored[3]["choices"] = None
    batches = [{"id": "batch_1", "created_at": 1}, {"id": "no/id", "created_at": 1}]
    documents = {"stored_completions": jsonl(stored), "batches": jsonl(batches)}
    folder = new_recording(tmp_path / "recording", **documents)
    document = json.loads(import_(folder, tmp_path / "data", "--json").stdout)
    assert document["stored_completions"] == ["chatcmpl-2"]
    assert set(document["refused"]) == {"chatcmpl-0", "chatcmpl-1", "chatcmpl-3", "batch_1", "no/id"}
    assert "input_file_id" in document["refused"]["batch_1"]


def test_a_luthier_is_an_account_too(tmp_path: Path) -> None:
    document = small_account()
    with RunningAccount(tmp_path / "account", document) as running:
        words = ["migrate", "record", "--no-answers", "--api-key", "sk-test", "--out"]
        first = [*words, str(tmp_path / "first"), "--base-url", running.base_url]
        assert CliRunner().invoke(main, first).exit_code == 0
    import_(tmp_path / "first", tmp_path / "data")
    settings = Settings(host="127.0.0.1", port=0, data=tmp_path / "data", worker=False)
    with LuthierServer(settings) as server:
        again = [*words, str(tmp_path / "again"), "--base-url", server.endpoint.base_url, "--json"]
        again[again.index("sk-test")] = server.endpoint.api_key
        manifest = json.loads(CliRunner().invoke(main, again).stdout)
    assert manifest["gaps"] == []
    assert manifest["counts"] | {"jobs": 4, "batches": 1, "stored_completions": 2} == manifest["counts"]
    first_files, files_again = (_contents(tmp_path / name / "files") for name in ("first", "again"))
    assert first_files == files_again


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
