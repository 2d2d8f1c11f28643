"""From a recording to models here: trained, compared with the old ones, switched to and back."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from luthier.cli import main
from luthier.migrate.distillation import distilled_examples
from luthier.migrate.inventory import JobEntry
from luthier.migrate.recorded import RecordedModel
from luthier.migrate.retraining import RetrainOptions, plan_retraining
from luthier.runtime import LuthierServer
from migrate.accounts import SUPPORT, VISION, RunningAccount, add_model, chat_line, job, jsonl, small_account
from through_api import client_of, running_server, wait

CALLS = "ft:gpt-4.1-mini-2025-04-14:acme:calls:DDDD4444"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(main, ["migrate", *map(str, words), "--lang", "en"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@dataclass(frozen=True)
class Moved:
    """A recording, and a server on a tiny base whose data folder has it."""

    recording: Path
    server: LuthierServer

    def __call__(self, command: str, *words: object) -> Result:
        endpoint = self.server.endpoint
        return invoke(command, self.recording, *words, "--base-url", endpoint.base_url, "--api-key", endpoint.api_key)


@pytest.fixture(scope="module")
def moved(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """The support model has its files; of the model of calls only answers are left, with and without definitions."""
    folder = tmp_path_factory.mktemp("moved")
    document = small_account()
    document["jobs"] = document["jobs"][:1]
    document["jobs"][0]["hyperparameters"] = {"n_epochs": 1, "batch_size": 40, "learning_rate_multiplier": 2e-5}
    document["jobs"][0]["method"] = {"type": "supervised", "supervised": {}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [[{"role": "user", "content": f"do {n}"}, {"role": "assistant", "tool_calls": [call]}] for n in range(10)]
    rows = [{"messages": messages, "tools": [TOOL]} for messages in turns]
    add_model(document, 70, CALLS, "gpt-4.1-mini-2025-04-14", {"validation": rows})
    with RunningAccount(folder / "account", document) as account:
        listed = invoke("inventory", "--base-url", account.base_url, "--api-key", "k", "--json").stdout
        assert {model["id"] for model in json.loads(listed)["models"]} >= {SUPPORT, CALLS}
        record = ["record", "--out", folder / "recording", "--base-url", account.base_url, "--api-key", "k"]
        assert invoke(*record, "--max-cost", "5", "--model", SUPPORT, "--model", CALLS).exit_code == 0
    with running_server(folder / "data", tiny_base, precision="float32", threads=1, default_max_tokens=8) as server:
        assert invoke("import", folder / "recording", "--data", folder / "data").exit_code == 0
        yield Moved(folder / "recording", server)


def test_from_a_recording_to_the_old_name_and_back(
    moved: Moved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))  # no base that would be measured
    plans = {plan["model"]: plan for plan in json.loads(moved("retrain", "--dry-run", "--json").stdout)["plans"]}
    assert (plans[SUPPORT]["source"], plans[SUPPORT]["examples"]) == ("training_file", 40)
    assert (plans[CALLS]["source"], plans[CALLS]["examples"]) == ("answers", 10)

    recorded = ("--model", SUPPORT, "--hyperparameters", "recorded", "--json")
    [trained] = json.loads(moved("retrain", *recorded).stdout)["models"]
    assert trained["status"] == "succeeded", trained
    assert json.loads(moved("retrain", *recorded).stdout)["models"] == [trained]  # nothing is trained twice
    successor = trained["successor"]
    _distilled_job_is_accepted(moved)

    names = [f"{old}={successor}" for old in (SUPPORT, CALLS)]
    words = ["--new", names[0], "--new", names[1], "--html", tmp_path / "report.html", "--limit", 6, "--max-tokens", 8]
    result = moved("report", *words, "--judge", successor, "--json")
    assert result.exit_code == 0, result.output
    pairs = {pair["old"]: pair for pair in json.loads(result.stdout)["pairs"]}
    assert {old: pair["new"] for old, pair in pairs.items()} == dict.fromkeys((SUPPORT, CALLS), successor)
    assert pairs[SUPPORT]["report"]["kind"] == "text"
    assert pairs[SUPPORT]["usage"]["old"]["usd_per_1000"] == pytest.approx(1000 * (10 * 0.3 + 5 * 1.2) / 1e6)
    assert (pairs[SUPPORT]["judged"]["difference"]["n"], pairs[CALLS]["judged"]) == (6, None)
    assert "the judge was not used" in result.stderr
    calls = pairs[CALLS]["report"]
    assert calls["kind"] == "functions"
    old_runs = [run for run in calls["runs"] if run["model"] == CALLS]
    figures = {run["definitions"]: run["figures"]["call_exact"] for run in old_runs}
    assert {definitions: figure["value"] for definitions, figure in figures.items()} == {"full": 1.0, "none": 0.0}
    assert sum(figure["n"] for figure in figures.values()) == 6
    assert {entry["first"]["model"] for entry in calls["comparisons"]} >= {CALLS}
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in (SUPPORT, CALLS, successor))
    [pair] = json.loads(moved("report", "--limit", 2, "--max-tokens", 8, "--json").stdout)["pairs"]
    assert (pair["old"], pair["new"], pair["report"]["examples"]) == (SUPPORT, successor, 2)
    _switch(moved, SUPPORT, successor)


def _distilled_job_is_accepted(moved: Moved) -> None:
    """Its file is checked; training it would show nothing that the other job does not."""
    [row] = json.loads(moved("retrain", "--model", CALLS, "--no-watch", "--json").stdout)["models"]
    client = client_of(moved.server)
    job = wait(client, row["job"], lambda job: job.status not in ("validating_files", "queued"))
    assert job.status == "running", job.error
    client.fine_tuning.jobs.cancel(job.id)
    examples = [json.loads(line) for line in client.files.content(job.training_file).read().splitlines()]
    assert len(examples) == 10
    assert all(example["messages"][-1]["tool_calls"] and example["tools"] == [TOOL] for example in examples)


def _switch(moved: Moved, old: str, new: str) -> None:
    data = ["--data", moved.recording.parent / "data"]
    targets = [
        json.loads(invoke("switch", old, *words, *data, "--json").stdout)["target"]
        for words in ([new, "--share", "0.1"], [new], ["--back"])
    ]
    assert targets == [f"upstream:{old}|{new}|0.1", new, f"upstream:{old}|{new}"]
    for unknown in ("ft:a:b:c:d", "nope"):
        assert invoke("switch", old, unknown, *data).exit_code == 2
    assert invoke("switch", old, *data).exit_code == 2


def test_a_base_is_proposed(moved: Moved, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    details = {"tokens_per_s": 10.0, "steps": 5, "peak_memory_bytes": 2**20}
    output = subprocess.CompletedProcess([], 0, json.dumps(details) + "\n", "")
    monkeypatch.setattr("luthier.cli.throughput.subprocess.run", lambda *_, **__: output)

    def plan(*words: str) -> dict[str, Any]:
        [plan] = json.loads(moved("retrain", "--dry-run", "--model", SUPPORT, "--json", *words).stdout)["plans"]
        return dict(plan)

    assert moved("retrain", "--base", "auto", "--model", SUPPORT).exit_code == 2
    pulled = CliRunner().invoke(main, ["models", "pull", str(tiny_base), "--name", "small"])
    assert pulled.exit_code == 0, pulled.output
    assert (plan()["proposed_base"], plan()["start"]) == ("small", SUPPORT.split(":")[1])
    [fit] = plan()["bases"]
    assert fit["seconds"] == fit["trained_tokens"] / 10
    assert fit["measured"]
    assert plan("--base", "auto")["start"] == "small"
    assert "small: about" in moved("retrain", "--dry-run", "--model", SUPPORT).stdout


def test_plans_say_what_cannot_be_trained_and_why(tmp_path: Path) -> None:
    answer = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}]}
    lines = [{"request": {"messages": [{"role": "user", "content": f"{n}"}]}, "response": answer} for n in range(9)]
    picture = tmp_path / "picture.jsonl"
    picture.write_text('{"messages": [{"content": [{"type": "image_url"}]}]}\n')
    method = {"type": "reinforcement"}
    short = tmp_path / "short.jsonl"
    short.write_text(jsonl([chat_line(1)]))
    models = [
        RecordedModel("few", lines=tuple(lines)),
        RecordedModel(VISION, _job(VISION), training=picture),
        RecordedModel("ft:o4-mini:acme::RRRR", _job("ft:o4-mini:acme::RRRR", method=method), training=picture),
        RecordedModel(SUPPORT, _job(SUPPORT), training=short),
    ]
    skipped = [str(plan.skipped) for plan in plan_retraining(models, RetrainOptions())]
    assert "recorded answers: 9," in skipped[0]
    assert "images" in skipped[1]
    assert "reinforcement" in skipped[2]
    assert "training examples: 1," in skipped[3]


def test_a_model_that_continues_another_starts_from_its_successor(tmp_path: Path) -> None:
    training = tmp_path / "train.jsonl"
    training.write_text(jsonl([chat_line(number) for number in range(10)]))
    second = "ft:gpt-4o-mini-2024-07-18:acme:more:HHHH8888"
    models = [RecordedModel(SUPPORT, _job(SUPPORT), training), RecordedModel(second, _job(second, SUPPORT), training)]
    both = plan_retraining(models, RetrainOptions(base="qwen"))
    assert [plan.start for plan in both] == ["qwen", SUPPORT]
    [alone] = plan_retraining(models[1:], RetrainOptions())
    assert alone.start == "gpt-4o-mini-2024-07-18"


@pytest.mark.parametrize(
    ("recorded", "used"),
    [
        ({"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.8}, None),
        ({"n_epochs": 3, "learning_rate_multiplier": 2e-5}, {"n_epochs": 3}),
        ({"n_epochs": "auto", "batch_size": 512}, {}),
    ],
)
def test_recorded_hyperparameters_are_translated_on_request(
    tmp_path: Path, recorded: dict[str, Any], used: dict[str, Any] | None
) -> None:
    training = tmp_path / "train.jsonl"
    training.write_text(jsonl([chat_line(number) for number in range(10)]))
    models = [RecordedModel(SUPPORT, _job(SUPPORT, hyperparameters=recorded, method=None), training)]
    [plan] = plan_retraining(models, RetrainOptions(recorded=True))
    assert plan.hyperparameters == (recorded if used is None else used)
    assert plan_retraining(models, RetrainOptions())[0].hyperparameters == {}


def test_distilled_examples_are_whole_answers_each_once() -> None:
    def line(
        number: int, finish_reason: str = "stop", definitions: str | None = None, **message: Any
    ) -> dict[str, Any]:
        request = {"messages": [{"role": "user", "content": f"q{number}"}], "model": "m", "temperature": 0}
        if definitions == "full":
            request["tools"] = [TOOL]
        choice = {"finish_reason": finish_reason, "message": {"role": "assistant", "content": "a", **message}}
        return {"request": request, "definitions": definitions, "response": {"choices": [choice]}}

    stored = {"messages": [{"role": "user", "content": "q9"}, {"role": "assistant", "content": "b"}, {"role": "user"}],
              "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "c"}}]}  # fmt: skip
    text = {"request": {"prompt": "p"}, "response": {"choices": [{"text": " t", "finish_reason": "stop"}]}}
    lines = (line(1, definitions="none"), line(1, definitions="full"), line(2, "length"), line(3, refusal="no"),
             line(4, content=""), text)  # fmt: skip
    q1, text_example, q9 = distilled_examples(RecordedModel("m", lines=lines, stored=(stored,)))
    assert q1 == {
        "messages": [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a"}],
        "tools": [TOOL],
    }
    assert text_example == {"prompt": "p", "completion": " t"}
    assert [message.get("weight") for message in q9["messages"]] == [None, 0, None, None]
    assert q9["messages"][-1]["content"] == "c"


def _job(model: str, parent: str | None = None, **extra: Any) -> JobEntry:
    return JobEntry(job(80, model, parent or model.split(":")[1], **extra))
