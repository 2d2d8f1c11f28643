"""Recording an account over real HTTP: recorded is what was there, paid for once, whatever happens meanwhile."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from luthier.cli import main
from migrate.accounts import ROUTER, SUPPORT, VISION, RunningAccount, account, add_model, chat_line, small_account

pytestmark = pytest.mark.services

QUESTIONS = {ROUTER: 12, VISION: 1, SUPPORT: 12}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_LANG", "en")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def record(running: RunningAccount, out: Path, *flags: object, cost: str | None = "5") -> Result:
    cap = ["--max-cost", cost] if cost else []
    words = ["migrate", "record", "--base-url", running.base_url, "--out", str(out), *cap, *map(str, flags)]
    result = CliRunner().invoke(main, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of answers by model."""
    files = [lines(path) for path in sorted((out / "answers").glob("*.jsonl"))]
    return {entries[0]["model"]: entries for entries in files}


def paid(running: RunningAccount) -> Counter[str]:
    return Counter(request["question"] for request in running.requests("paid"))


def check_free_parts(running: RunningAccount, out: Path) -> None:
    """Everything but answers is as the account has it."""
    document = running.document
    assert {job["id"]: job for job in lines(out / "jobs.jsonl")} == {job["id"]: job for job in document["jobs"]}
    assert lines(out / "batches.jsonl") == document["batches"]
    assert lines(out / "events" / "ftjob-1.jsonl") == document["events"]["ftjob-1"]
    assert lines(out / "checkpoints" / "ftjob-1.jsonl") == document["checkpoints"]["ftjob-1"]
    stored = lines(out / "stored_completions.jsonl")
    assert [{**entry, "messages": document["messages"][entry["id"]]} for entry in document["stored"]] == stored
    files = {file["id"]: file for file in lines(out / "files.jsonl")}
    assert {file_id for file_id, file in files.items() if file["path"]} == set(document["contents"])
    for file_id, text in document["contents"].items():
        content = (out / files[file_id]["path"]).read_bytes()
        assert content == text.encode()
        assert files[file_id]["sha256"] == hashlib.sha256(content).hexdigest()
    assert files["file-gone"]["error"]["status"] == 404
    assert not list(out.rglob("*.part"))


def check_answers(running: RunningAccount, out: Path) -> None:
    """Each question is there once, with the answer that was paid for."""
    recorded = answers(out)
    assert {model: len(entries) for model, entries in recorded.items()} == QUESTIONS
    for entries in recorded.values():
        assert len({entry["custom_id"] for entry in entries}) == len(entries)
        assert all(entry["response"] and not entry["error"] for entry in entries)
    assert set(paid(running)) == {
        entry["response"]["id"].removeprefix("chatcmpl-") for entries in recorded.values() for entry in entries
    }


def test_recorded_is_what_was_there_paid_for_once(tmp_path: Path) -> None:
    faults = {"rate_limit_every": 4, "cut_downloads_at": 100}
    with RunningAccount(tmp_path / "account", account(**faults)) as running:
        out = tmp_path / "recording"
        result = record(running, out)
        assert result.exit_code == 0, result.output
        check_free_parts(running, out)
        check_answers(running, out)
        assert set(paid(running).values()) == {1}
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["complete"]
        assert manifest["vision_jobs"] == ["ftjob-3"]
        assert "cannot train on them" in result.output
        assert "ftjob-2: learning_rate_multiplier" in result.output
        (out / "journal.sqlite").unlink()  # the answers alone suffice
        assert record(running, out).exit_code == 0
        assert sum(paid(running).values()) == sum(QUESTIONS.values())


def test_answers_have_logprobs_usage_and_both_kinds_of_definitions(tmp_path: Path) -> None:
    with RunningAccount(tmp_path / "account", small_account()) as running:
        record(running, tmp_path / "recording")
    recorded = answers(tmp_path / "recording")
    assert Counter(entry["definitions"] for entry in recorded[ROUTER]) == {"full": 6, "none": 6}
    assert all(("tools" in entry["request"]) == (entry["definitions"] == "full") for entry in recorded[ROUTER])
    entry = recorded[SUPPORT][0]
    assert entry["source"] == "validation"
    assert recorded[ROUTER][0]["source"] == "training"  # there is no validation file
    assert entry["response"]["choices"][0]["logprobs"]["content"]
    assert entry["response"]["usage"]["total_tokens"] == 15
    assert entry["reference"] == {"role": "assistant", "content": "reply 0"}


def test_a_service_without_ranges_and_logprobs(tmp_path: Path) -> None:
    faults = {"cut_downloads_at": 100, "ranges": False, "rejected_parameters": ["logprobs", "max_completion_tokens"]}
    with RunningAccount(tmp_path / "account", small_account(**faults)) as running:
        out = tmp_path / "recording"
        assert record(running, out, "--concurrency", 1).exit_code == 0
        check_free_parts(running, out)
        check_answers(running, out)
        assert "max_tokens" in answers(out)[SUPPORT][-1]["request"]


def test_a_model_that_goes_off_leaves_its_questions_marked(tmp_path: Path) -> None:
    with RunningAccount(tmp_path / "account", small_account(off_after={ROUTER: 5})) as running:
        out = tmp_path / "recording"
        result = record(running, out)
        assert result.exit_code == 1
        assert "does not answer" in result.output
        assert "can no longer be recorded" in result.output
        recorded = answers(out)
        assert sum(bool(entry["response"]) for entry in recorded[ROUTER]) == 5
        marked = [entry for entry in recorded[ROUTER] if not entry["response"]]
        assert {entry["error"]["code"] for entry in marked} == {"model_not_found"}
        assert len(recorded[ROUTER]) == 12
        assert all(entry["response"] for entry in recorded[SUPPORT])
        assert len(running.requests("off")) <= 4  # those in flight, not each remaining question
        assert record(running, out).exit_code == 1
        assert set(paid(running).values()) == {1}


def test_a_key_that_may_not_use_models_records_everything_else(tmp_path: Path) -> None:
    with RunningAccount(tmp_path / "account", small_account(no_inference=True)) as running:
        out = tmp_path / "recording"
        result = record(running, out)
        assert result.exit_code == 1
        check_free_parts(running, out)
        assert "Missing scopes: model.request" in result.output
        assert not paid(running)
        assert all(not entry["response"] for entries in answers(out).values() for entry in entries)


def test_parts_that_are_refused_are_no_obstacle(tmp_path: Path) -> None:
    forbidden = {"/fine_tuning": "training_not_available", "/batches": "denied"}
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"messages": [{"role": "user", "content": "one"}]}\n{"prompt": "two"}\nthree\n')
    with RunningAccount(tmp_path / "account", small_account(forbidden=forbidden)) as running:
        out = tmp_path / "recording"
        result = record(running, out, "--prompts", prompts)
        assert result.exit_code == 1
        assert "jobs (403: Not available" in result.output
        assert (out / "files" / "file-train1.jsonl").exists()
        assert {model: len(entries) for model, entries in answers(out).items()} == dict.fromkeys(QUESTIONS, 3)


def test_the_cap_holds_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    with RunningAccount(tmp_path / "account", small_account()) as running:
        out = tmp_path / "recording"
        result = record(running, out, "--concurrency", 1, cost="0.01")
        assert result.exit_code == 1
        assert "cap of $0.01" in result.output
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["spent_usd"] <= 0.01
        assert record(running, out).exit_code == 0
        check_answers(running, out)
        assert set(paid(running).values()) == {1}


def test_without_a_cap_nothing_is_sent_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    with RunningAccount(tmp_path / "account", small_account()) as running:
        out = tmp_path / "recording"
        plan = record(running, out, "--dry-run", "--json", cost=None)
        assert not out.exists()
        plans = {entry["model"]: entry for entry in json.loads(plan.stdout)["plans"]}
        assert {model: entry["pending"] for model, entry in plans.items()} == QUESTIONS
        assert all(0 < entry["typical_usd"] < entry["max_usd"] for entry in plans.values())
        result = record(running, out, cost=None)
        assert result.exit_code == 1
        assert "--max-cost" in result.output
        check_free_parts(running, out)
        assert record(running, tmp_path / "free", "--no-answers", cost=None).exit_code == 0
        assert not paid(running)


def test_a_model_that_completes_texts_and_one_trained_on_preferences(tmp_path: Path) -> None:
    texts, preferring = "ft:davinci-002:acme:texts:EEEE5555", "ft:gpt-4.1-mini-2025-04-14:acme:dpo:FFFF6666"
    rows = [{"prompt": f"question {number} ->", "completion": f" reply {number} END"} for number in range(3)]
    message = {"role": "user", "content": "which?"}
    answers_of_pair = [[{"role": "assistant", "content": text}] for text in ("this", "that")]
    pair = {"input": {"messages": [message]}, "preferred_output": answers_of_pair[0],
            "non_preferred_output": answers_of_pair[1]}  # fmt: skip
    document = add_model(small_account(), 50, texts, "davinci-002", {"training": rows, "validation": rows})
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}
    add_model(document, 51, preferring, "gpt-4.1-mini-2025-04-14", {"training": [pair]}, method=method)
    with RunningAccount(tmp_path / "account", document) as running:
        models = ["--model", texts, "--model", preferring]
        result = record(running, tmp_path / "recording", *models)
        assert result.exit_code == 0, result.output
    completed, preferred = (answers(tmp_path / "recording")[model] for model in (texts, preferring))
    assert sorted(entry["request"]["prompt"] for entry in completed) == [row["prompt"] for row in rows]
    assert {entry["request"]["stop"] for entry in completed} == {" END"}
    assert {entry["url"] for entry in completed} == {"/v1/completions"}
    assert all(entry["response"]["choices"][0]["logprobs"]["token_logprobs"] for entry in completed)
    assert [entry["request"]["messages"] for entry in preferred] == [[message]]
    assert preferred[0]["reference"]["content"] == "this"


def test_a_run_for_one_model_keeps_the_others_in_the_manifest(tmp_path: Path) -> None:
    out = tmp_path / "recording"
    with RunningAccount(tmp_path / "account", small_account(off_after={ROUTER: 5})) as running:
        record(running, out, "--model", ROUTER)
        assert record(running, out, "--model", SUPPORT).exit_code == 1  # the router's answers are still missing
    manifest = json.loads((out / "manifest.json").read_text())
    assert {entry["model"]: entry["missing"] for entry in manifest["answers"]} == {ROUTER: 7, SUPPORT: 0}
    assert not manifest["complete"]


def test_the_folder_of_another_project_is_refused(tmp_path: Path) -> None:
    other = add_model({**small_account(), "jobs": []}, 60, "ft:gpt-4o-2024-08-06:acme::GGGG7777", "gpt-4o-2024-08-06",
                      {"training": [chat_line(1)]})  # fmt: skip
    document = {**small_account(), "projects": {"proj_2": other["jobs"]}}
    with RunningAccount(tmp_path / "account", document) as running:
        out = tmp_path / "recording"
        assert record(running, out, "--no-answers").exit_code == 0
        before = (out / "inventory.json").read_bytes()
        result = record(running, out, "--no-answers", "--project", "proj_2")
        assert result.exit_code == 2
        assert "--out" in result.output
        assert (out / "inventory.json").read_bytes() == before


def verify(folder: Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(main, ["migrate", "verify", str(folder), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_recording_is_verified_without_the_account(tmp_path: Path) -> None:
    out = tmp_path / "recording"
    with RunningAccount(tmp_path / "account", small_account(off_after={ROUTER: 5})) as running:
        record(running, out, "--model", SUPPORT)
        code, document = verify(out)
        assert (code, document["whole"], document["lost"]) == (0, True, ["file-gone", "file-result4"])
        assert document["counts"] | {"files": 10, "jobs": 4, "answers": 12, "models": 1} == document["counts"]
        record(running, out)
    code, document = verify(out)
    assert (code, document["damaged"]) == (1, {})
    assert document["missing"][ROUTER].startswith("7 of 12 answers (")
    content = out / "files" / "file-train1.jsonl"
    content.write_bytes(content.read_bytes()[:-1] + b" ")
    (out / "files" / "file-valid1.jsonl").unlink()
    with (out / "jobs.jsonl").open("a") as jobs:
        jobs.write("{}")
    assert set(verify(out)[1]["damaged"]) == {"files/file-train1.jsonl", "files/file-valid1.jsonl", "jobs.jsonl"}
    (out / "manifest.json").unlink()
    assert CliRunner().invoke(main, ["migrate", "verify", str(out)]).exit_code == 2


def test_killed_at_random_moments_nothing_is_paid_for_twice(tmp_path: Path) -> None:
    """A request that was pending at a kill may be paid for again: those are as many as the report says."""
    out, moments = tmp_path / "recording", random.Random(7)
    faults = {"delay_s": 0.02, "cut_downloads_at": 200, "rate_limit_every": 9}
    with RunningAccount(tmp_path / "account", small_account(**faults), program=True) as running:
        words = ["migrate", "record", "--base-url", running.base_url, "--out", out, "--max-cost", "5"]
        command = [sys.executable, "-m", "luthier", *map(str, words), "--concurrency", "2"]
        kills = 0
        for number in range(3):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            last = running.request_count() + moments.randrange(5, 50)
            while process.poll() is None and running.request_count() < last:
                time.sleep(0.01)
            if process.poll() is None:
                process.send_signal(signal.SIGINT if number == 1 else signal.SIGKILL)
                kills += 1
            process.wait(timeout=60)
        result = record(running, out)
        assert result.exit_code == 0, result.output
        assert kills
        check_free_parts(running, out)
        check_answers(running, out)
        lost = json.loads((out / "manifest.json").read_text())["requests"]["lost_in_all_runs"]
        assert lost <= 2 * kills
        assert sum(paid(running).values()) <= sum(QUESTIONS.values()) + lost
        sent = len(running.requests("paid"))
        assert record(running, out).exit_code == 0
        assert len(running.requests("paid")) == sent
        assert set(map(len, answers(out).values())) == set(QUESTIONS.values())
