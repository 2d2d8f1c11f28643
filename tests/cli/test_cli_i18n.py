"""Chinese help, errors, statuses and events; lines that fit 80 cells."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import run

from luthier.cli import COMMANDS, main
from luthier.cli.click_texts import cell_width
from luthier.cli.progress_texts import STATUSES, event_text, status_text
from luthier.cli.settings_texts import CHINESE, TOPICS
from luthier.event_texts import chinese_failure
from luthier.settings import Settings
from luthier.training import protocol
from luthier.worker import job_messages


def command_lines() -> list[tuple[str, ...]]:
    """Every command and subcommand."""
    lines: list[tuple[str, ...]] = [()]
    for entry in COMMANDS:
        lines.append((entry.name,))
        command = main.get_command(click.Context(main), entry.name)
        if isinstance(command, click.Group):
            lines += [(entry.name, name) for name in command.commands]
    return lines


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_fits_80_cells(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_LANG", language)
    for line in command_lines():
        for text in run(*line, "--help").stdout.splitlines():
            assert cell_width(text) <= 80 or " " not in text.strip(), (line, text)


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@pytest.mark.services
def test_clicks_own_texts_are_chinese() -> None:
    words = [sys.executable, "-m", "luthier", "--lang", "zh", "tune", "--help"]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout  # click keeps its help option
    assert "Usage" not in output
    assert "Show this" not in output
    for words in (["chekc"], ["tune"], ["jobs", "list", "--limit", "0"], ["check", "no-such-file"], ["tune", "--no"]):
        result = run("--lang", "zh", *words)
        assert result.exit_code == 2
        assert is_chinese(result.stderr.splitlines()[-1]), result.stderr


@pytest.mark.parametrize("arguments", [("check",), ("check", "x", "--fxi", "y"), ("check", "absent.jsonl")])
def test_clicks_sentences_end_as_chinese_ones(arguments: tuple[str, ...]) -> None:
    error = run(*arguments, "--lang", "zh").stderr.splitlines()[-1]
    assert error.startswith("错误：")
    assert error[-1] in "。？"
    assert "。 " not in error


@pytest.mark.parametrize(
    ("words", "en", "zh"),
    [
        (("jobs", "list", "--limit", "few"), "'few' is not a valid integer range.", "'few' 不是有效的整数。"),
        (("split", __file__, "--seed", "x"), "'x' is not a valid integer.", "'x' 不是有效的整数。"),
        (("split", __file__, "--validation", "x"), "'x' is not a valid float range.", "'x' 不是有效的数字。"),
    ],
)
def test_clicks_types_have_chinese_names(words: tuple[str, ...], en: str, zh: str) -> None:
    assert run(*words, "--lang", "en").stderr.strip().endswith(en)
    assert run(*words, "--lang", "zh").stderr.strip().endswith(zh)


def test_a_misspelt_command_gets_a_suggestion() -> None:
    assert "Did you mean check?" in run("chekc").stderr


def test_every_setting_has_a_chinese_description_and_a_topic() -> None:
    assert set(CHINESE) <= set(Settings.model_fields)
    assert {name for _, names in TOPICS for name in names} <= set(Settings.model_fields)
    assert all(map(is_chinese, CHINESE.values()))


EVENTS = [
    job_messages.STARTED,
    job_messages.SUCCEEDED,
    job_messages.STOPPED,
    job_messages.open_weights("gpt-4o", "Base"),
    *job_messages.trainer_notice(protocol.Hardware(name="CPU", dtype="float32", threads=2)),
    *job_messages.trainer_notice(protocol.TrainableParameters(count=10)),
    *job_messages.trainer_notice(protocol.TrainableParameters(count=10, rank=4, alpha=8, layers=["q_proj"])),
    *job_messages.trainer_notice(protocol.CompilerMissing()),
    *job_messages.trainer_notice(protocol.Resumed(step=3)),
    job_messages.checkpoint_created(3, "ft:x"),
    job_messages.model_created("ft:x"),
    job_messages.trainer_died("signal 9"),
    job_messages.Event("The job failed: " + job_messages.kept_as_checkpoint("It differs.", "ft:x:ckpt-step-3")),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.message[:30])
def test_events_are_shown_in_chinese_and_stay_english_on_the_wire(
    event: job_messages.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_chinese(event.message)
    assert event_text(event.message) == event.message
    monkeypatch.setenv("LUTHIER_LANG", "zh")
    assert is_chinese(event_text(event.message))


def test_the_gates_event_and_unknown_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_LANG", "zh")
    summary = "mean difference 0.0012 over 96 tokens of 4 examples, 0 most likely tokens differ"
    text = event_text(f"Parity check passed: the serving engine reproduces the trained model ({summary})")
    assert text == "已核对：推理结果与训练一致（4 个样本、96 个 token 的平均差异为 0.0012，最可能的 token 有 0 个不同）"
    details = "; without the adapter 0.0010; effect of the adapter 101 %"
    text = event_text(f"Parity check passed: the serving engine reproduces the trained model ({summary}{details})")
    assert text.endswith("有 0 个不同；不带适配器时为 0.0010；适配器效果 101 %）")
    assert event_text("Something new") == "Something new"
    assert [status_text(status) for status in (*STATUSES, "new")][-1] == "new"


def documented_events() -> list[str]:
    """The messages of the reference page, with values in place of the words in capitals."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    tables = page.partition("## Metrics")[0] + page.partition("## Other events of a job")[2].partition("Codes of")[0]
    messages = re.findall(r"`([A-Z][^`]*)`", "\n".join(re.findall(r"^\| (`.*?) \|", tables, re.MULTILINE)))
    messages = [re.sub(r"\b(?:N|COUNT|TOTAL)\b|(?<=x)COUNT", "3", text) for text in messages]
    return [text.replace("HARDWARE", "CPU, float32, 2 threads").replace("LOST", "messages") for text in messages]


@pytest.mark.parametrize("message", documented_events())
def test_every_documented_event_has_a_chinese_text(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_LANG", "zh")
    assert is_chinese(event_text(re.sub(r"(?<!Snapshot )(?<!C)\b(?!GET|GB|CPU|LoRA)[A-Z]{2,}\b", "x1", message)))


def test_every_code_of_a_failed_job_is_documented_and_has_a_chinese_text() -> None:
    root = Path(__file__).parents[2]
    source = "\n".join(path.read_text(encoding="utf-8") for path in (root / "src" / "luthier").rglob("*.py"))
    codes = set(re.findall(r'\bJobError\(\s*"(\w+)"', source))
    assert "parity_failed" in codes
    page = (root / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []
    assert [code for code in sorted(codes) if chinese_failure(code, "words") == "words"] == []
