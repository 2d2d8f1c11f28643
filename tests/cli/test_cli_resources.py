"""jobs, files and models: tables for people, one JSON document for programs."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, run
from fake_api import MODEL, RESULTS, FakeAPI, happy_script, step_event

from luthier.catalogue import Catalogue
from luthier.cli.plot import Point, loss_plot
from luthier.settings import Settings
from luthier.types.errors import BaseModelError

pytestmark = pytest.mark.services


@pytest.fixture
def done(api: FakeAPI) -> str:
    """The id of a job that has succeeded, its result file in base64 as OpenAI sends it."""
    api.add_file("file-results", "step_metrics.csv", base64.b64encode(RESULTS.encode()))
    events, _ = happy_script()
    api.add_job("ftjob-1", events, [("succeeded", 6)])
    return "ftjob-1"


@pytest.mark.parametrize(
    "command",
    [
        "jobs", "jobs list", "jobs show ftjob-1", "jobs events ftjob-1", "jobs checkpoints ftjob-1",
        "jobs cancel ftjob-1", "jobs pause ftjob-1", "jobs resume ftjob-1", "jobs results ftjob-1",
        "files", "files show file-results",
        "files delete file-results", "files upload train.jsonl", "files download file-results",
        "models", f"models show {MODEL}", f"models delete {MODEL}", f"chat {MODEL} hello",
    ],
)  # fmt: skip
def test_json_is_one_document(luthier: Run, done: str, train: Path, command: str) -> None:
    json.loads(luthier(*command.split(), "--json").stdout)


def test_json_may_stand_before_the_subcommand(luthier: Run, done: str) -> None:
    assert json.loads(luthier("jobs", "--json", "show", done).stdout)["id"] == done


def test_jobs_as_a_table(luthier: Run, done: str) -> None:
    output = luthier("jobs").stdout
    assert done in output
    assert MODEL in output


def test_events_are_told_oldest_first(luthier: Run, api: FakeAPI) -> None:
    api.add_job("ftjob-1", [step_event(n, n, 300) for n in range(1, 301)], [("running", 300)])
    lines = luthier("jobs", "events", "ftjob-1", "--limit", "150").stdout.splitlines()[1:]
    assert [line.split("Step ")[1].split("/")[0] for line in lines] == [str(n) for n in range(151, 301)]


def test_checkpoints_cancel_and_the_rest(luthier: Run, done: str) -> None:
    assert f"{MODEL}:ckpt-step-2" in luthier("jobs", "checkpoints", done).stdout
    assert "cancelled" in luthier("jobs", "cancel", done).stderr


@pytest.mark.parametrize("encode", [base64.b64encode, bytes])
def test_results_in_base64_or_bare(luthier: Run, api: FakeAPI, done: str, encode: Callable[[bytes], bytes]) -> None:
    api.add_file("file-results", "r.csv", encode(RESULTS.encode()))
    assert luthier("jobs", "results", done).stdout == RESULTS
    rows = json.loads(luthier("jobs", "results", done, "--json").stdout)
    assert rows[1]["valid_loss"] == 1.5
    assert rows[0]["valid_loss"] is None


def test_results_as_a_plot(luthier: Run, done: str) -> None:
    output = luthier("jobs", "results", done, "--plot").stdout
    assert "2.50 │█" in output
    assert "●" in output


def test_a_running_job_has_no_results(luthier: Run, api: FakeAPI) -> None:
    api.add_job("ftjob-1", [], [("running", 0)])
    result = luthier("jobs", "results", "ftjob-1")
    assert result.exit_code == 2
    assert "it is running" in result.stderr


def test_files_go_up_and_come_down(luthier: Run, api: FakeAPI, train: Path) -> None:
    assert luthier("files", "upload", train).stdout == "file-1  train.jsonl\n"
    assert luthier("files", "download", "file-1", "-o", "-").stdout == train.read_text()
    result = luthier("files", "download", "file-1")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert luthier("files", "download", "file-1", "--force").exit_code == 0
    assert luthier("files", "delete", "file-1").exit_code == 0
    assert "file-1" not in luthier("files").stdout


def test_a_servers_file_name_cannot_leave_the_folder(luthier: Run, api: FakeAPI, tmp_path: Path) -> None:
    api.add_file("file-1", "../../escaped", b"x")
    assert luthier("files", "download", "file-1").stdout == "escaped\n"
    assert (tmp_path / "escaped").read_bytes() == b"x"


def test_models(luthier: Run) -> None:
    assert MODEL in luthier("models").stdout
    assert "gpt-3.5-turbo" in luthier("models", "show", MODEL).stdout
    assert "Deleted" in luthier("models", "delete", MODEL).stderr


def test_pull_tells_what_it_does_and_prints_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(source: str, _: Catalogue, __: Settings, notify: Callable[[str], None], *rest: object, **options: object):
        if source == "bad":
            raise BaseModelError("No such base model.")
        notify("Fetching …")
        return "base", Path("/cache/model")

    monkeypatch.setattr("luthier.catalogue.pull.pull_model", pull)
    result = run("models", "pull")
    assert (result.stdout, result.stderr) == ("/cache/model\n", "Fetching …\n")
    assert json.loads(run("models", "pull", "--json").stdout) == {"id": "base", "path": "/cache/model"}
    failed = run("models", "pull", "bad")
    assert failed.exit_code == 2
    assert "No such base model." in failed.stderr


def test_bases_are_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a base here nothing can be measured: memory is said, and no time."""
    monkeypatch.setattr("luthier.hardware.available_memory", lambda: 64 * 1024**3)
    bases = json.loads(run("models", "suggest", "--language", "zh", "--task", "reasoning", "--json").stdout)
    assert [base["source"] for base in bases] == ["Qwen/Qwen3-4B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3.5-0.8B"]
    assert {base["seconds"] for base in bases} == {None}
    result = run("models", "suggest", "--lang", "zh")
    assert "luthier models pull Qwen/Qwen3-4B-Instruct-2507" in result.stderr
    assert "真实模板、微型权重" in result.stdout
    monkeypatch.setattr("luthier.hardware.available_memory", lambda: 1024)
    assert "No base model in the table" in run("models", "suggest").stdout


def test_a_plot_of_any_size() -> None:
    assert loss_plot([]) == ""
    assert loss_plot([Point(1, None, None)]) == ""
    for count in (1, 2, 63, 64, 65, 1000):
        lines = loss_plot([Point(n + 1, 1.0 + n, None) for n in range(count)]).splitlines()
        assert len(lines) == 14
        assert lines[-1].split() == (["1", str(count)])
        assert max(map(len, lines)) <= 74


def test_a_model_is_shown_with_its_newest_evaluation(
    luthier: Run, api: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"figure": "call_exact", "definitions": "none", "value": 0.95, "low": 0.9, "high": 0.975, "n": 120}
    about = {"id": "evaluation-2", "created_at": 1_700_000_000, "filename": "valid.jsonl", "functions": True}
    matches = [{"id": "evaluation-3", "headline": None}, about | {"headline": head}, {"id": "evaluation-1"}]
    monkeypatch.setattr(
        api, "evaluations_route", lambda method, rest, query, body: {"data": matches} if query else None
    )
    output = luthier("models", "show", MODEL).stdout
    assert "call_exact 95.0 % [90.0–97.5], n = 120, definitions none · valid.jsonl" in output
    assert json.loads(luthier("models", "show", MODEL, "--json").stdout)["evaluation"]["id"] == "evaluation-2"


def test_files_from_completions(luthier: Run, api: FakeAPI) -> None:
    done = luthier("files", "from-completions", "--model", "gpt-4o", "--metadata", "task=a=b", "--filename", "s.jsonl")
    assert done.stdout == "file-stored  s.jsonl\n"
    assert "2 examples" in done.stderr
    assert "1 left out: cut off." in done.stderr
    sent = json.loads(api.files["file-stored"][1])
    assert sent == {"model": "gpt-4o", "metadata": {"task": "a=b"}, "filename": "s.jsonl"}
    api.files.clear()
    output = luthier("files", "from-completions", "--show", "1").stdout
    assert "How are you?" in output
    assert "Hello" in output
    assert not api.files
    refused = luthier("files", "from-completions", "--metadata", "task")
    assert (refused.exit_code, "KEY=VALUE" in refused.stderr) == (2, True)


def test_models_show_names_the_job_that_made_it(api: FakeAPI, luthier: Run) -> None:
    api.add_job("ftjob-1", [], [("succeeded", 0)], hyperparameters={"n_epochs": 3})
    output = json.loads(luthier("models", "show", MODEL, "--json").stdout)
    expected = {"job": "ftjob-1", "epochs": 3, "training_file": "file-1", "trained_tokens": 1234}
    assert {name: output[name] for name in expected} == expected


def test_loss_curves_as_svg(api: FakeAPI, luthier: Run, tmp_path: Path) -> None:
    api.add_job("ftjob-1", [], [("succeeded", 0)])
    api.add_file("file-results", "step_metrics.csv", RESULTS.encode())
    result = luthier("jobs", "results", "ftjob-1", "--svg", tmp_path / "loss.svg", "--lang", "zh")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "loss.svg").read_text(encoding="utf-8")
    assert "训练损失" in text
    assert "验证损失" in text
    assert result.stdout == ""
