"""`luthier quickstart` from end to end, on the tiny base: every part is real but what the model has learnt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.cli import quickstart


def test_quickstart_runs_by_itself_and_the_model_stays(tmp_path: Path, tiny_base: Path) -> None:
    environment = os.environ | {"LUTHIER_BASE": str(tiny_base), "LUTHIER_LANG": "en", "LUTHIER_THREADS": "1"}
    command = [sys.executable, "-m", "luthier", "quickstart", "--data", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    counts = ["170 examples, 0 errors", "136 examples for training, 34 held out", "tokens × 2 epochs", "Step 68/68"]
    for part in [*counts, "Base model: 0/8"]:
        assert part in done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 4
    assert lines[0] == "from openai import OpenAI"
    models = subprocess.run(
        [sys.executable, "-m", "luthier", "models", "list", "--json", "--data", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    tuned = [model["id"] for model in json.loads(models.stdout) if model["id"].startswith("ft:")]
    assert len(tuned) == 1
    assert tuned[0] in lines[2]


def test_chinese_examples_for_a_chinese_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_LANG", "zh")
    train, valid = quickstart._prepare(tmp_path)
    assert "你是家里的智能管家" in train.read_text(encoding="utf-8")
    assert len(valid.read_text(encoding="utf-8").splitlines()) >= 30


@pytest.mark.parametrize(
    ("arguments", "cell"),
    [
        ('{"room": "客厅"}', 'play_music(room="客厅")'),
        ("{}", "play_music()"),
        ('{"room": "客', 'play_music({"room": "客'),
        ("", "play_music("),
        ("[1]", "play_music([1]"),
    ],
)
def test_arguments_of_any_kind_are_shown(arguments: str, cell: str) -> None:
    assert quickstart._call("play_music", arguments) == cell
