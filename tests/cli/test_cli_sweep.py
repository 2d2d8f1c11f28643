"""Several jobs through the API of a real server on the tiny base, ranked by what they reached."""

import json
from pathlib import Path

import pytest
from command_line import run

from luthier.cli.sweep import grid, ranked
from through_api import running_server
from training.jobs import EXAMPLES


def test_a_sweep_ranks_its_models(tmp_path: Path, tiny_base: Path) -> None:
    train, valid, plot = tmp_path / "train.jsonl", tmp_path / "valid.jsonl", tmp_path / "plot.svg"
    train.write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    valid.write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES[:3]))
    with running_server(tmp_path / "data", tiny_base, precision="float32", threads=1) as running:
        address = ("--base-url", running.endpoint.base_url, "--api-key", running.endpoint.api_key or "k")
        tried = ("--learning-rate-multiplier", "0.01,3", "--epochs", "2", "--rank", "4", "--batch-size", "4")
        done = run("sweep", train, "--validation", valid, *tried, "--plot", plot, "--json", *address)
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        rates = [result["hyperparameters"]["learning_rate_multiplier"] for result in found]
        assert rates == [3.0, 0.01]  # next to nothing is learnt at a hundredth
        assert found[0]["valid_loss"] < found[1]["valid_loss"]
        assert all(result["fine_tuned_model"] for result in found)
        folder = tmp_path / "data" / "jobs" / found[0]["job"]
        assert json.loads((folder / "job.json").read_text())["lora_rank"] == 4
        assert plot.read_text().count("<polyline") == 2


def test_every_combination_once() -> None:
    made = grid({"n_epochs": [1, 2], "rank": None, "batch_size": [4]})
    assert made == [{"n_epochs": 1, "batch_size": 4}, {"n_epochs": 2, "batch_size": 4}]


def test_jobs_without_a_loss_come_last() -> None:
    losses = [result["valid_loss"] for result in ranked({"valid_loss": loss} for loss in (None, 2.0, 1.0))]
    assert losses == [1.0, 2.0, None]


@pytest.mark.parametrize("wrong", ["0,1", "a", ""])
def test_what_is_no_list_of_numbers_is_refused(tmp_path: Path, wrong: str) -> None:
    assert run("sweep", "file-a", "--validation", "file-b", "--epochs", wrong).exit_code == 2
    assert run("sweep", "file-a", "--validation", "file-b").exit_code == 2
