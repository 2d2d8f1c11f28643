"""What a job takes: tokens, money, and the measured figures of this machine."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import run

MEASURED = {
    "tokens_per_s": 100.0,
    "steps": 5,
    "hardware": "CPU, float32, 2 threads",
    "peak_memory_bytes": 2**30,
    "adapter_bytes": 1000,
    "state_bytes": 3000,
}


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
    asked: list[list[str]] = []

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "noise\n" + json.dumps(MEASURED) + "\n", "")

    monkeypatch.setattr("luthier.cli.throughput.subprocess.run", answer)
    return asked


def test_tokens_money_and_time(file: Path, tiny_base: Path, measurements: list[list[str]]) -> None:
    made = json.loads(run("estimate", file, "--base", tiny_base, "--epochs", 10, "--json").stdout)
    checked = json.loads(run("check", file, "--base", tiny_base, "--json").stdout)["files"][0]["numbers"]
    assert made["tokens"] == checked["total_tokens"]
    assert made["trained_tokens"] == 10 * made["tokens"]
    assert made["here"]["seconds"] == pytest.approx(made["trained_tokens"] / 100)
    assert made["here"]["disk_bytes"] == 4 * 1000 + 3000 + 2 * file.stat().st_size
    assert made["openai_tokens"] == checked["openai"]["total"]
    billed = made["openai_tokens"] * 10
    assert made["openai"]["usd"]["gpt-4o-mini"] == pytest.approx(billed * 3 / 1e6)
    assert made["openai"]["lesson_usd"] == pytest.approx(billed * 0.016 / 1000)
    assert made["openai"]["until"] == "2027-01-06"


def test_the_machine_is_measured_once(file: Path, tiny_base: Path, measurements: list[list[str]]) -> None:
    for _ in range(2):
        shown = run("estimate", file, "--base", tiny_base)
        assert shown.exit_code == 0
        assert "measured: 100.0 tokens/s" in shown.stdout
    assert len(measurements) == 1
    run("estimate", file, "--base", tiny_base, "--measure", "again")
    assert len(measurements) == 2
    for _ in range(2):
        run("estimate", file, "--base", tiny_base, "--full")
    assert [command[-1] for command in measurements] == ["lora", "lora", "full"]
    assert "Here" not in run("estimate", file, "--base", tiny_base, "--measure", "never").stdout


def test_what_is_said(file: Path, tiny_base: Path, measurements: list[list[str]]) -> None:
    shown = run("estimate", file, "--base", tiny_base, "--model", "gpt-4o-mini-2024-07-18").stdout
    assert "× 8 epochs (auto)" in shown
    assert "2027-01-06" in shown
    assert "10,000 tokens × 10 epochs = $1.60" in shown
    assert "gpt-4.1" not in shown
    assert "2027-01-06" in run("estimate", file, "--base", tiny_base, "--lang", "zh").stdout


def test_a_thousand_hours_are_warned_of_and_not_refused(
    file: Path, tiny_base: Path, measurements: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MEASURED, "tokens_per_s", 0.001)
    shown = run("estimate", file, "--base", tiny_base)
    assert shown.exit_code == 0
    assert "thousand hours" in shown.stderr


def test_a_measurement_that_fails_is_told(
    file: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: too big")
    monkeypatch.setattr("luthier.cli.throughput.subprocess.run", lambda *_, **__: failed)
    shown = run("estimate", file, "--base", tiny_base)
    assert shown.exit_code == 0
    assert "MemoryError: too big" in shown.stderr
    assert "Here" not in shown.stdout


def test_what_cannot_be_estimated(file: Path, tiny_base: Path, tmp_path: Path) -> None:
    assert run("estimate", file, "--base", tiny_base, "--model", "o4-mini").exit_code == 2
    assert run("estimate", file, "--base", "absent").exit_code == 2
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert run("estimate", empty, "--base", tiny_base).exit_code == 2
