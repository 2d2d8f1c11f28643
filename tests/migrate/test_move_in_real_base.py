"""The whole way of an old model on a real base: recorded, imported, trained here, compared, switched to and back."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.alias import read_aliases
from luthier.types.plain_settings import DEFAULT_BASE
from migrate.accounts import RunningAccount, add_model, small_account
from through_api import client_of, running_server

pytestmark = pytest.mark.slow
OLD = "ft:gpt-4o-mini-2024-07-18:acme:home:EEEE5555"
HELD_OUT = 10


def _account() -> dict[str, Any]:
    """One model with its files. It answers the questions that were held out as its file says."""
    lines = (resources.files("luthier") / "examples" / "smart_home.jsonl").read_text(encoding="utf-8").splitlines()
    examples = [json.loads(line) for line in lines]
    document = small_account()
    document["jobs"] = []
    rows = {"training": examples[HELD_OUT:], "validation": examples[:HELD_OUT]}
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}}
    add_model(document, 80, OLD, "gpt-4o-mini-2024-07-18", rows, method=method, hyperparameters={})
    replies = [example["messages"][-2:] for example in examples[:HELD_OUT]]
    return document | {"replies": {question["content"]: answer for question, answer in replies}}


def test_an_old_model_moves_in(real_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without definitions in its requests, by the commands of docs/migrate.md, each a program of its own."""
    assert real_base.is_dir()
    recording, data, page = tmp_path / "recording", tmp_path / "data", tmp_path / "report.html"
    monkeypatch.setenv("LUTHIER_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LUTHIER_DATA", str(data))

    def migrate(*words: str | Path) -> Any:
        command = [sys.executable, "-m", "luthier", "migrate", *map(str, words), "--json"]
        process = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout)

    with RunningAccount(tmp_path / "account", _account()) as account:
        service = ("--base-url", account.base_url, "--api-key", "k")
        assert OLD in [model["id"] for model in migrate("inventory", *service)["models"]]
        migrate("record", "--out", recording, *service, "--max-cost", "5", "--model", OLD)
    migrate("verify", recording)
    migrate("import", recording)
    with running_server(data, DEFAULT_BASE) as server:
        here = ("--base-url", server.endpoint.base_url, "--api-key", server.endpoint.api_key)
        [trained] = migrate("retrain", recording, "--hyperparameters", "recorded", *here)["models"]
        [pair] = migrate("report", recording, "--html", page, *here)["pairs"]
    new = trained["successor"]
    figures = {run["model"]: run["figures"]["call_exact"] for run in pair["report"]["runs"]}
    assert (pair["old"], pair["new"], figures[OLD]["value"]) == (OLD, new, 1.0)
    assert figures[new]["value"] >= 0.8
    assert new in page.read_text(encoding="utf-8")
    migrate("switch", OLD, new)
    _old_code_calls_functions(data)
    assert migrate("switch", OLD, "--back")["target"] == f"upstream:{OLD}|{new}"


def _old_code_calls_functions(data: Path) -> None:
    """By the old name, plain and streamed."""
    messages: Any = [
        {"role": "system", "content": "You run the house. Call a function."},
        {"role": "user", "content": "Dim the hallway to 15 percent"},
    ]
    with running_server(data, DEFAULT_BASE, aliases=read_aliases()) as server, client_of(server) as client:
        request: Any = {"model": OLD, "messages": messages, "temperature": 0, "max_tokens": 64}
        message = client.chat.completions.create(**request).choices[0].message
        with client.chat.completions.stream(**request) as stream:
            streamed = stream.get_final_completion().choices[0].message
    [(name, arguments)] = _calls(message)
    assert name.startswith("set_")
    assert json.loads(arguments)["room"] == "hallway"
    assert _calls(streamed) == [(name, arguments)]


def _calls(message: Any) -> list[tuple[str, str]]:
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
