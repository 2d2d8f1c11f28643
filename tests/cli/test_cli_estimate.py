"""What a job takes: tokens, money, and the measured figures of this machine."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from luthier.catalogue.rates import Rate, add_rate, rate_key

MEASURED = {
    "tokens_per_s": 100.0,
    "steps": 5,
    "hardware": "CPU, float32, 2 threads",
    "peak_memory_bytes": 2**30,
    "adapter_bytes": 1000,
    "state_bytes": 3000,
}
LOAD = {0: 0.1}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    example = (
        '{"messages": [{"role": "user", "content": "Question %d?"}, {"role": "assistant", "content": "Answer."}]}\n'
    )
    path.write_text("".join(example % n for n in range(12)))
    return path


@pytest.fixture
def measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have measured this machine; each is answered with `MEASURED`."""
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("luthier.cli.throughput.load_per_core", lambda: LOAD[0])
    monkeypatch.setitem(LOAD, 0, 0.1)
    asked: list[list[str]] = []

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "noise\n" + json.dumps(MEASURED) + "\n", "")

    monkeypatch.setattr("luthier.cli.throughput.subprocess.run", answer)
    return asked


def test_few_calls_take_more_epochs_here_than_openai_bills(tmp_path: Path, tiny_base: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    messages = [{"role": "user", "content": "Call f."}, {"role": "assistant", "tool_calls": [call]}]
    file = tmp_path / "calls.jsonl"
    file.write_text((json.dumps({"messages": messages, "tools": tools}) + "\n") * 40)
    command = ("estimate", file, "--base", tiny_base, "--measure", "never")
    result = json.loads(run(*command, "--json").stdout)
    assert (result["epochs"], result["openai_epochs"]) == (5, 3)
    assert result["trained_tokens"] == 5 * result["tokens"]
    assert result["openai"]["usd"]["gpt-4o-mini"] == pytest.approx(3 * result["openai_tokens"] * 3 / 1e6)
    assert f"At OpenAI, {result['openai_tokens']:,} tokens (OpenAI's count) × 3 epochs" in run(*command).stdout


def test_tokens_money_and_time(file: Path, tiny_base: Path, measurements: list[list[str]]) -> None:
    result = json.loads(run("estimate", file, "--base", tiny_base, "--epochs", 10, "--json").stdout)
    checked = json.loads(run("check", file, "--base", tiny_base, "--json").stdout)["files"][0]["numbers"]
    assert result["tokens"] == checked["total_tokens"]
    assert result["trained_tokens"] == 10 * result["tokens"]
    assert result["here"]["seconds"] == pytest.approx(result["trained_tokens"] / 100)
    assert result["here"]["disk_bytes"] == 4 * 1000 + 3000 + 2 * file.stat().st_size
    assert result["openai_tokens"] == checked["openai"]["total"]
    billed = result["openai_tokens"] * 10
    assert result["openai"]["usd"]["gpt-4o-mini"] == pytest.approx(billed * 3 / 1e6)
    assert result["openai"]["lesson_usd"] == pytest.approx(billed * 0.016 / 1000)
    assert result["openai"]["until"] == "2027-01-06"


def test_the_machine_is_measured_once(file: Path, tiny_base: Path, measurements: list[list[str]]) -> None:
    for _ in range(2):
        result = run("estimate", file, "--base", tiny_base)
        assert result.exit_code == 0
        assert "100.0 tokens/s by 1 measurement" in result.stdout
        assert "over 5 steps, load 0.1 per core" in result.stdout
    assert len(measurements) == 1
    run("estimate", file, "--base", tiny_base, "--measure", "again")
    assert len(measurements) == 2
    for _ in range(2):
        run("estimate", file, "--base", tiny_base, "--full")
    assert [command[-1] for command in measurements] == ["lora", "lora", "full"]
    assert "Here" not in run("estimate", file, "--base", tiny_base, "--measure", "never").stdout


def test_what_is_said(file: Path, tiny_base: Path, measurements: list[list[str]]) -> None:
    output = run("estimate", file, "--base", tiny_base, "--model", "gpt-4o-mini-2024-07-18").stdout
    assert "× 8 epochs (auto)" in output
    assert "2027-01-06" in output
    assert "10,000 tokens × 10 epochs = $1.60" in output
    assert "gpt-4.1" not in output
    assert "2027-01-06" in run("estimate", file, "--base", tiny_base, "--lang", "zh").stdout


def test_a_thousand_hours_are_warned_of_and_not_refused(
    file: Path, tiny_base: Path, measurements: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MEASURED, "tokens_per_s", 0.001)
    result = run("estimate", file, "--base", tiny_base)
    assert result.exit_code == 0, result.output
    assert "thousand hours" in result.stderr


def test_a_measurement_that_fails_is_told(
    file: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: too big")
    monkeypatch.setattr("luthier.cli.throughput.subprocess.run", lambda *_, **__: failed)
    result = run("estimate", file, "--base", tiny_base)
    assert result.exit_code == 0
    assert "MemoryError: too big" in result.stderr
    assert "Here" not in result.stdout


def test_what_cannot_be_estimated(file: Path, tiny_base: Path, tmp_path: Path) -> None:
    assert run("estimate", file, "--base", tiny_base, "--model", "o4-mini").exit_code == 2
    assert run("estimate", file, "--base", "absent").exit_code == 2
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert run("estimate", empty, "--base", tiny_base).exit_code == 2


def add_job(tiny_base: Path, tmp_path: Path, **fields: Any) -> None:
    key = rate_key(tiny_base, "auto", "auto", 0, full=False)
    rate = {"tokens_per_s": 300.0, "steps": 40, "measured_at": int(time.time()), "load": 0.2, "source": "job"}
    add_rate(tmp_path / "cache", key, Rate(**(rate | fields)))


def test_another_load_is_measured_anew_and_both_are_kept(
    file: Path, tiny_base: Path, measurements: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("estimate", file, "--base", tiny_base)
    monkeypatch.setitem(LOAD, 0, 3.0)
    monkeypatch.setitem(MEASURED, "tokens_per_s", 10.0)
    busy = run("estimate", file, "--base", tiny_base)
    assert "The load per core was 0.1 during the measurement and is 3 now." in busy.stderr
    assert "10.0 tokens/s" in busy.stdout
    assert "This machine is busy now (load 3 per core)" in busy.stdout
    monkeypatch.setitem(LOAD, 0, 0.3)
    assert "100.0 tokens/s" in run("estimate", file, "--base", tiny_base).stdout
    assert len(measurements) == 2


def test_jobs_correct_a_measurement(file: Path, tiny_base: Path, measurements: list[list[str]], tmp_path: Path) -> None:
    run("estimate", file, "--base", tiny_base)
    for rate in (290.0, 300.0, 320.0):
        add_job(tiny_base, tmp_path, tokens_per_s=rate)
    add_job(tiny_base, tmp_path, tokens_per_s=5.0, load=4.0)
    document = json.loads(run("estimate", file, "--base", tiny_base, "--json").stdout)
    here = document["here"]
    assert (here["tokens_per_s"], here["jobs"], here["measurements"]) == (300.0, 3, 1)
    assert here["seconds_range"] == pytest.approx([document["trained_tokens"] / rate for rate in (320, 100)])
    result = run("estimate", file, "--base", tiny_base, "--lang", "zh").stdout
    assert "依据 3 个任务和 1 次实测" in result
    assert len(measurements) == 1


@pytest.mark.parametrize("faulty", [{"steps": 1}, {"measured_at": 1_700_000_000}])
def test_short_or_old_rates_are_not_used(
    file: Path, tiny_base: Path, measurements: list[list[str]], tmp_path: Path, faulty: dict[str, int]
) -> None:
    add_job(tiny_base, tmp_path, **faulty)
    assert "100.0 tokens/s by 1 measurement" in run("estimate", file, "--base", tiny_base).stdout


def test_one_step_is_not_kept_for_the_next_estimate(
    file: Path, tiny_base: Path, measurements: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MEASURED, "steps", 1)
    assert "only 1 step(s)" in run("estimate", file, "--base", tiny_base).stderr
    run("estimate", file, "--base", tiny_base)
    assert len(measurements) == 2


def test_rates_of_earlier_releases_are_measured_anew(
    file: Path, tiny_base: Path, measurements: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    key = rate_key(tiny_base, "auto", "auto", 0, full=False)
    (tmp_path / "cache" / "rates.json").write_text(json.dumps({key: MEASURED}))
    run("estimate", file, "--base", tiny_base)
    assert len(measurements) == 1
