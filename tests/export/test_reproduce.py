"""`luthier reproduce`: the same job twice gives the same losses, and what differs is said."""

import json

import pytest
from click.testing import CliRunner
from openai import OpenAI

from luthier.cli import main
from luthier.cli.reproduce import compare_metrics
from luthier.runtime import LuthierServer
from through_api import create, finished, upload


@pytest.mark.torch  # through the session's server
def test_a_model_is_trained_again_with_equal_losses(server: LuthierServer, client: OpenAI) -> None:
    job = finished(client, create(client, upload(client), seed=7, suffix="first").id)
    ran = CliRunner().invoke(main, ["reproduce", job.fine_tuned_model, "--json", "--data", str(server.data)])
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert document["equal"]
    assert (document["steps"], document["largest_difference"], document["other_settings"]) == (6, 0, {})
    assert document["repeated_model"] != job.fine_tuned_model
    unknown = CliRunner().invoke(main, ["reproduce", "ft:nobody", "--data", str(server.data)])
    assert unknown.exit_code == 2
    assert "No job here has trained ft:nobody" in unknown.output


def test_the_first_difference_and_the_largest() -> None:
    before = {1: {"train_loss": 2.0}, 2: {"train_loss": 1.0, "valid_loss": 3.0}, 3: {"train_loss": 0.5}}
    after = {1: {"train_loss": 2.0}, 2: {"train_loss": 1.25, "valid_loss": 3.5}}
    compared = compare_metrics(before, after)
    assert not compared["equal"]
    assert compared["largest_difference"] == 0.5
    assert compared["first_difference"] == {"step": 2, "before": before[2], "after": after[2]}
    assert compare_metrics(before, before)["equal"]
    assert compare_metrics({1: {}}, {2: {}})["largest_difference"] is None
