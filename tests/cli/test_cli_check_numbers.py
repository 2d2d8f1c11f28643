"""The numbers of a check, and an example as the trainer sees it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    example = '{"messages": [{"role": "user", "content": "Q%d?"}, {"role": "assistant", "content": "债券 %d"}]}\n'
    path.write_text("".join(example % (n, n) for n in range(12)), encoding="utf-8")
    return path


def test_numbers_are_a_section(file: Path, tiny_base: Path) -> None:
    result = run("check", file, "--base", tiny_base)
    assert result.exit_code == 0
    assert "trained tokens" in result.stdout
    assert "with the tokenizer of tiny" in result.stdout
    assert "sample" not in result.stdout


def test_numbers_in_json(file: Path, tiny_base: Path) -> None:
    numbers = json.loads(run("check", file, "--base", tiny_base, "--json").stdout)["files"][0]["numbers"]
    assert (numbers["examples"], numbers["counted"], numbers["truncated"]) == (12, 12, 0)
    assert numbers["tokens"]["total"] == numbers["total_tokens"]
    assert sum(numbers["trained"]["bars"]) == 12
    assert numbers["openai"]["mean"] < numbers["tokens"]["mean"]


def test_an_example_that_loses_its_answer_is_an_error(file: Path, tiny_base: Path) -> None:
    with file.open("a") as more:
        more.write(
            json.dumps({"messages": [{"role": "user", "content": "x" * 3000}, {"role": "assistant", "content": "y"}]})
        )
    result = run("check", file, "--base", tiny_base)
    assert result.exit_code == 1
    assert "nothing_trainable_in_context" in result.stdout
    assert "line 13" in result.stdout


def test_without_the_base_model_a_check_says_how_to_get_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "empty"))
    result = run("check", file)
    assert result.exit_code == 0
    assert "luthier models pull" in result.stdout
    assert run("check", file, "--show", 1).exit_code == 2
    assert run("check", file, "--base", "absent").exit_code == 2


def test_show_marks_what_is_trained(file: Path, tiny_base: Path) -> None:
    result = run("check", file, "--base", tiny_base, "--show", 2)
    assert "Q1?" in result.stdout
    assert "assistant\n⟦债券 1<|im_end|>⟧" in result.stdout
    assert "Line 2" in result.stderr
    output = json.loads(run("check", file, "--base", tiny_base, "--show", 2, "--json").stdout)
    trained = [token for token, weight in zip(output["tokens"], output["weights"], strict=True) if weight]
    assert trained[-1] == "<|im_end|>"
    assert len(trained) == len("债券 1".encode()) + 1
    assert run("check", file, "--base", tiny_base, "--show", 13).exit_code == 2


def test_show_in_colour(file: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = run("check", file, "--base", tiny_base, "--show", 1).stdout
    assert "⟦" not in output
    assert "\x1b[1;32m债券 0" in output


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_check_of_a_few_lines_takes_less_than_100_mb(file: Path, real_base: Path) -> None:
    """With the counts of the base and of OpenAI, in a process of its own."""
    script = (
        "import sys; from luthier.cli import main; main(['check', sys.argv[1]], standalone_mode=False);"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    output = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True).stdout
    assert "OpenAI tokens" in output
    assert int(output.split()[-2]) < 100_000  # KiB
