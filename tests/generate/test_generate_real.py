"""Generating with a real model that Luthier serves. A model of 135 million parameters is a poor teacher, so what is
shown is that the loop runs against the server as it is, and that the report tells the truth about it.
"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from luthier.cli import main
from luthier.data.check.file_check import check_file
from luthier.generate.filters import screen_question
from through_api import running_server

pytestmark = pytest.mark.slow


def test_the_embedded_base_teaches_as_well_as_it_can(
    real_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two questions of a few words, with their answers and second tries."""
    monkeypatch.setattr("luthier.generate.topics.ROUNDS", 1)
    out = tmp_path / "data.jsonl"
    system = "You are a helpful bank clerk."
    topics = ["--topic", "bank accounts", "--topic", "saving money", "--per-topic", "1", "--batch", "1"]
    short = ["--sub-topics", "0", "--max-tokens", "32", "--temperature", "0", "--system", system]
    with running_server(tmp_path / "server", str(real_base)) as running:
        where = ["--base-url", running.endpoint.base_url, "--api-key", running.endpoint.api_key]
        command = ["generate", *topics, *short, *where, "--teacher", "gpt-4o-mini", "--out", str(out), "--json"]
        refused = CliRunner().invoke(main, command)
        written = out.exists()
        command.append("--yes")
        first = CliRunner().invoke(main, command)
        again = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert not written
    report = json.loads(first.stdout)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    rejects = [json.loads(line) for line in (tmp_path / "data.rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert first.exit_code == (0 if report["made"] == 2 else 1)
    assert len(lines) == report["made"] == sum(row["made"] for row in report["by_topic"].values())
    rejected = [sum(report[stage]["rejected"].values()) for stage in ("questions", "answers")]
    assert len(rejects) == sum(rejected) + report["lists"].get("unusable", 0)
    assert report["questions"]["seen"] > 0
    assert report["requests"]["paid_in_this_run"] >= 2
    assert report["usd"]["spent_in_all_runs"] == 0
    assert report["tokens_of_this_run"]["completion"] > 0
    for line in lines:
        assert line["messages"][0] == {"role": "system", "content": system}
        assert screen_question(line["messages"][1]["content"], "en").reason is None
    if lines:
        assert not [finding for finding in check_file(out, minimum_examples=1).findings if finding.severity == "error"]
    assert json.loads(again.stdout)["requests"]["paid_in_this_run"] == 0, "everything was in the journal"
