"""From a file to a model: the order of things, what is sent, what is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, run
from fake_api import MODEL, FakeAPI, event

pytestmark = pytest.mark.services


def test_the_whole_loop(api: FakeAPI, luthier: Run, train: Path) -> None:
    result = luthier("tune", train, "--epochs", "3", "--batch-size", "auto", "--suffix", "s", "--seed", "7")
    assert result.exit_code == 0
    assert api.bodies("/v1/files") == [{"purpose": "fine-tune", "file": ("train.jsonl", train.read_bytes())}]
    assert api.bodies("/v1/fine_tuning/jobs") == [
        {
            "model": "gpt-3.5-turbo",
            "training_file": "file-1",
            "suffix": "s",
            "seed": 7,
            "hyperparameters": {"n_epochs": 3, "batch_size": "auto"},
        }
    ]
    assert "Step 4/4" in result.stderr
    assert len(result.stdout.splitlines()) == 4
    assert MODEL in result.stdout


@pytest.mark.parametrize("name", ["train.txt", "train.json", "train.NDJSON", "train"])
def test_lines_of_json_are_uploaded_whatever_their_name(api: FakeAPI, luthier: Run, train: Path, name: str) -> None:
    renamed = train.rename(train.with_name(name))
    result = luthier("tune", renamed)
    assert result.exit_code == 0
    assert api.bodies("/v1/files") == [{"purpose": "fine-tune", "file": ("train.jsonl", renamed.read_bytes())}]
    assert f"{name} is uploaded under the name train.jsonl" in result.stderr


def test_the_four_lines_run(api: FakeAPI, luthier: Run, train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(luthier("tune", train).stdout, "printed", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "Hello\n"


def test_json_is_the_job_and_nothing_else(api: FakeAPI, luthier: Run, train: Path) -> None:
    assert json.loads(luthier("tune", train, "--json").stdout)["fine_tuned_model"] == MODEL


def test_errors_in_the_file_stop_before_anything_is_sent(api: FakeAPI, luthier: Run, broken: Path) -> None:
    result = luthier("tune", broken)
    assert result.exit_code == 1
    assert "json_invalid" in result.stderr
    assert result.stdout == ""
    assert api.requests == []
    assert luthier("tune", broken, "--no-check").exit_code == 0


def test_ids_and_a_validation_file(api: FakeAPI, luthier: Run, train: Path) -> None:
    api.add_file("file-abc", "train.jsonl", b"")
    assert luthier("tune", "file-abc", "--validation", train, "--method", "dpo", "--no-check").exit_code == 0
    assert api.bodies("/v1/fine_tuning/jobs") == [
        {
            "model": "gpt-3.5-turbo",
            "training_file": "file-abc",
            "validation_file": "file-2",
            "method": {"type": "dpo", "dpo": {"hyperparameters": {}}},
        }
    ]


def _pairs(path: Path, count: int) -> Path:
    outputs = {f"{side}_output": [{"role": "assistant", "content": side}] for side in ("preferred", "non_preferred")}
    prompts = ([{"role": "user", "content": f"q{number}"}] for number in range(count))
    path.write_text("".join(json.dumps({"input": {"messages": prompt}, **outputs}) + "\n" for prompt in prompts))
    return path


@pytest.mark.parametrize("options", [(), ("--no-check",), ("--method", "dpo")])
def test_pairs_are_trained_as_pairs(api: FakeAPI, luthier: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    path, held_out = _pairs(tmp_path / "pairs.jsonl", 12), _pairs(tmp_path / "held_out.jsonl", 1)
    result = luthier("tune", path, "--validation", held_out, "--epochs", "2", *options)
    assert result.exit_code == 0
    (job,) = api.bodies("/v1/fine_tuning/jobs")
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2}}}
    assert ("the method is dpo" in result.stderr) is (options[:1] != ("--method",))


def test_a_sweep_of_pairs(api: FakeAPI, luthier: Run, tmp_path: Path) -> None:
    path, held_out = _pairs(tmp_path / "pairs.jsonl", 12), _pairs(tmp_path / "held_out.jsonl", 1)
    result = luthier("sweep", path, "--validation", held_out, "--epochs", "2", "--json")
    assert result.exit_code == 0, result.output
    (job,) = api.bodies("/v1/fine_tuning/jobs")
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2}}}


def test_pairs_of_another_form_are_converted_first(api: FakeAPI, luthier: Run, tmp_path: Path) -> None:
    path = tmp_path / "chosen.jsonl"
    lines = [{"prompt": f"q{number}", "chosen": "good", "rejected": "bad"} for number in range(12)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    refused = luthier("tune", path)
    assert refused.exit_code == 2
    assert "Convert it first" in refused.stderr
    assert "method_mismatch" not in refused.stderr
    assert api.bodies("/v1/files") == []


def test_a_validation_file_is_for_the_method_of_the_training_file(
    api: FakeAPI, luthier: Run, train: Path, tmp_path: Path
) -> None:
    pairs = _pairs(tmp_path / "pairs.jsonl", 12)
    for files in ((train, pairs), (pairs, train)):
        refused = luthier("tune", files[0], "--validation", files[1])
        assert refused.exit_code == 1
        assert "method_mismatch" in refused.stderr
    assert api.bodies("/v1/files") == []


def test_a_method_that_cannot_be_trained_here(api: FakeAPI, luthier: Run, tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text('{"messages": [{"role": "user", "content": "2 + 2?"}], "reference": "4"}\n' * 12)
    refused = luthier("tune", items)
    assert refused.exit_code == 2
    assert "reinforcement cannot be trained here" in refused.stderr
    assert api.requests == []


def test_an_adapters_shape_travels_in_the_metadata(api: FakeAPI, luthier: Run, train: Path) -> None:
    assert luthier("tune", train, "--rank", "8", "--alpha", "8", "--targets", "q_proj, v_proj").exit_code == 0
    metadata = {"luthier:rank": "8", "luthier:alpha": "8", "luthier:targets": "q_proj, v_proj"}
    assert api.bodies("/v1/fine_tuning/jobs")[0]["metadata"] == metadata
    refused = luthier("tune", train, "--rank", "0")
    assert refused.exit_code == 2
    assert "'luthier:rank' must be a number from 1 to 512" in refused.stderr
    assert len(api.bodies("/v1/files")) == 1


def test_early_stopping_travels_in_the_metadata(api: FakeAPI, luthier: Run, train: Path) -> None:
    assert luthier("tune", train, "--validation", train, "--early-stopping", "2").exit_code == 0
    assert api.bodies("/v1/fine_tuning/jobs")[0]["metadata"] == {"luthier:early_stopping": "2"}
    refused = luthier("tune", train, "--early-stopping", "2")
    assert refused.exit_code == 2
    assert "needs --validation" in refused.stderr


def test_neither_a_file_nor_an_id(luthier: Run) -> None:
    assert luthier("tune", "absent.jsonl").exit_code == 2


def test_hyperparameters_are_numbers_or_auto(luthier: Run, train: Path) -> None:
    assert luthier("tune", train, "--epochs", "many").exit_code == 2


def test_a_failed_job_fails_the_command(api: FakeAPI, luthier: Run, train: Path) -> None:
    api.next_job = ([event(0, "Bad line")], [("validating_files", 0), ("failed", 1)])
    result = luthier("tune", train)
    assert result.exit_code == 1
    assert "Line 3 is broken" in result.stderr
    assert result.stdout == ""


def test_no_watch_returns_with_the_id(api: FakeAPI, luthier: Run, train: Path) -> None:
    result = luthier("tune", train, "--no-watch")
    assert result.stdout == "ftjob-new\n"
    assert api.jobs["ftjob-new"].retrieved == 0


def test_an_embedded_server_is_watched_anyway(api: FakeAPI, embedded: list[Path | None], train: Path) -> None:
    result = run("tune", train, "--no-watch", "--data", "d")
    assert "ends with this command" in result.stderr
    assert "luthier serve --data d" in result.stderr
    assert 'base_url="http://127.0.0.1:8000/v1", api_key="luthier"' in result.stdout
    assert "embedded-key" not in result.output


def test_a_persons_key_is_not_printed(api: FakeAPI, luthier: Run, train: Path) -> None:
    assert "sk-secret" not in luthier("tune", train, "--api-key", "sk-secret").output


@pytest.mark.parametrize(
    "wrong",
    [
        ("--epochs", "500"),
        ("--batch-size", "0"),
        ("--learning-rate-multiplier", "0"),
        ("--suffix", "模 型"),
        ("--seed", "-1"),
        ("--validation", "file-none"),
    ],
)
def test_what_the_server_would_refuse_uploads_nothing(
    api: FakeAPI, luthier: Run, train: Path, wrong: tuple[str, str]
) -> None:
    assert luthier("tune", train, *wrong).exit_code == 2
    assert api.files == {}


def test_an_unknown_model_uploads_nothing(api: FakeAPI, luthier: Run, train: Path) -> None:
    error = {"message": "no", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    api.failures.append((404, json.dumps({"error": error}).encode()))
    result = luthier("tune", train, "--model", "gpt-9")
    assert result.exit_code == 2
    assert "no model gpt-9" in result.stderr
    assert api.files == {}


def test_a_refused_job_leaves_no_files(
    api: FakeAPI, luthier: Run, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = api.jobs_route

    def refuse(method: str, *rest: Any) -> Any:
        return None if method == "POST" else original(method, *rest)

    monkeypatch.setattr(api, "jobs_route", refuse)
    assert luthier("tune", train).exit_code == 2
    assert api.files == {}
