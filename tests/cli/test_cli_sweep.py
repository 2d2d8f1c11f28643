"""Several jobs through the API of a real server on the tiny base, ranked by what they reached."""

import json
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from command_line import run

from luthier.cli.client import Connection
from luthier.cli.options import Options
from luthier.cli.sweep import grid
from luthier.cli.sweep_jobs import Trials, detaching_all
from luthier.cli.sweep_report import ranked
from through_api import running_server
from training.jobs import EXAMPLES


def test_the_better_half_goes_on_and_is_scored(tmp_path: Path, tiny_base: Path) -> None:
    train, valid, plot = tmp_path / "train.jsonl", tmp_path / "valid.jsonl", tmp_path / "plot.svg"
    train.write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    valid.write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES[:3]))
    with running_server(tmp_path / "data", tiny_base, precision="float32", threads=1) as running:
        address = ("--base-url", running.endpoint.base_url, "--api-key", running.endpoint.api_key or "k")
        tried = ("--learning-rate-multiplier", "0.01,3", "--epochs", "20", "--rank", "4", "--batch-size", "2")
        flags = ("--halving", "--score", "exact", "--plot", plot, "--json")
        done = run("sweep", train, "--validation", valid, *tried, *flags, *address)
        assert done.exit_code == 0, done.output
        best, dropped = json.loads(done.stdout)
        rates = [result["hyperparameters"]["learning_rate_multiplier"] for result in (best, dropped)]
        assert rates == [3.0, 0.01]  # next to nothing is learnt at a hundredth
        assert (best["status"], dropped["status"]) == ("succeeded", "cancelled")
        assert best["fine_tuned_model"]
        assert 0 <= best["score"] <= 1
        assert best["valid_loss"] < dropped["valid_loss"]
        assert [step for step, _ in best["curve"]] == list(range(6, 121, 6))  # a quarter and a half end epochs
        created = json.loads((tmp_path / "data" / "jobs" / best["job"] / "job.json").read_text())
        assert (created["lora_rank"], created["validate_at"]) == (4, [0.25, 0.5])
        assert plot.read_text().count("<polyline") == 2


class Simulated:
    """Jobs of eight steps whose validation loss, measured after each, is said by their number; nothing runs."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.steps, self.said = losses, [0] * len(losses), []
        self.status = ["running"] * len(losses)
        self.fine_tuning = SimpleNamespace(jobs=self)

    def create(self, chosen: dict) -> SimpleNamespace:
        return self.retrieve(chosen["rank"])

    def retrieve(self, at: int) -> SimpleNamespace:
        return SimpleNamespace(
            id=at, status=self.status[at], fine_tuned_model=f"ft:{at}" if self.steps[at] == 8 else None
        )

    def _to(self, at: int, status: str) -> SimpleNamespace:
        self.said.append((status, at))
        self.status[at] = status
        return self.retrieve(at)

    def pause(self, at: int) -> SimpleNamespace:
        return self._to(at, "paused")

    def resume(self, at: int) -> SimpleNamespace:
        return self._to(at, "running")

    def cancel(self, at: int) -> SimpleNamespace:
        return self._to(at, "cancelled")

    def watch(self, client, at: int, console, feed, enough) -> SimpleNamespace:
        while self.steps[at] < 8:
            self.steps[at] += 1
            data = {"step": self.steps[at], "total_steps": 8, "full_valid_loss": self.losses[at]}
            if enough([SimpleNamespace(data=data)]):
                return self.retrieve(at)
        return self._to(at, "succeeded")


def trials(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> tuple[Simulated, Trials]:
    result = Simulated(losses)
    monkeypatch.setattr("luthier.cli.sweep_jobs.watch_job", result.watch)
    return result, Trials(result, [{"rank": at} for at in range(len(losses))], result.create)


def test_half_of_the_jobs_stop_at_a_quarter_and_half_of_the_others_at_half(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated, five = trials(monkeypatch, [5.0, 1.0, 4.0, 2.0, 3.0])
    five.run_halving()
    assert simulated.steps == [2, 8, 2, 8, 4]
    assert [trial.job.status for trial in five] == ["cancelled", "succeeded", "cancelled", "succeeded", "cancelled"]
    assert simulated.said.index(("cancelled", 0)) < simulated.said.index(("running", 1))
    simulated, entry = trials(monkeypatch, [1.0])
    entry.run_halving()
    assert simulated.said == [("succeeded", 0)]


def test_an_interrupted_sweep_says_what_is_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated, two = trials(monkeypatch, [1.0, 2.0])

    def interrupted(client, at: int, *rest) -> SimpleNamespace:
        if at == 1:
            raise KeyboardInterrupt
        return simulated.watch(client, at, *rest)

    monkeypatch.setattr("luthier.cli.sweep_jobs.watch_job", interrupted)
    with (
        pytest.raises(click.exceptions.Exit) as caught,
        detaching_all(Connection(simulated, "", False, None), Options(), two),
    ):
        two.run_halving()
    assert caught.value.exit_code == 130
    output = capsys.readouterr().err
    assert "0  paused  rank=0" in output
    assert "1  running  rank=1" in output
    assert "luthier jobs resume JOB" in output


def test_every_combination_once() -> None:
    result = grid({"n_epochs": [1, 2], "rank": None, "batch_size": [4]})
    assert result == [{"n_epochs": 1, "batch_size": 4}, {"n_epochs": 2, "batch_size": 4}]


def test_jobs_without_a_loss_come_last() -> None:
    losses = [
        result["valid_loss"]
        for result in ranked({"status": "succeeded", "valid_loss": loss} for loss in (None, 2.0, 1.0))
    ]
    assert losses == [1.0, 2.0, None]


def test_scores_are_checked_before_anything_is_trained(tmp_path: Path) -> None:
    valid = tmp_path / "valid.jsonl"
    valid.write_text(json.dumps(EXAMPLES[0]) + "\n")
    arguments = ("sweep", "file-a", "--epochs", "1,2", "--base-url", "http://127.0.0.1:1/v1", "--api-key", "k")
    assert "a local validation file" in run(*arguments, "--validation", "file-b", "--score", "exact").stderr
    refused = run(*arguments, "--validation", valid, "--score", "calls")
    assert refused.exit_code != 0
    assert "another --score" in refused.stderr


@pytest.mark.parametrize("wrong", ["0,1", "a", ""])
def test_what_is_no_list_of_numbers_is_refused(tmp_path: Path, wrong: str) -> None:
    assert run("sweep", "file-a", "--validation", "file-b", "--epochs", wrong).exit_code == 2
    assert run("sweep", "file-a", "--validation", "file-b").exit_code == 2
