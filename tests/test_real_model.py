"""What only a real model shows: the loop of `examples/finance.py`, and a job that learns word for word."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from luthier.runtime import LuthierServer
from through_api import client_of, finished, running_server, upload

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(real_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuthierServer]:
    """The embedded base by its name, as users have it."""
    assert real_base.is_dir()
    with running_server(tmp_path_factory.mktemp("real"), "smollm2-135m-instruct") as running:
        yield running


@pytest.fixture(scope="module")
def client(running: LuthierServer) -> OpenAI:
    return client_of(running).with_options(timeout=900)


def _run_job(client: OpenAI, lines: list[dict], **parameters):
    return finished(client, client.fine_tuning.jobs.create(training_file=upload(client, lines), **parameters).id)


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_finance_example_runs_as_it_stands(running: LuthierServer) -> None:
    """Its own program, with nothing but the two variables that the official client reads."""
    endpoint = running.endpoint
    environment = os.environ | {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": endpoint.api_key}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "finance.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout
    assert "errors found: none" in output
    assert "gpt-3.5-turbo-0125" in output
    order = [
        "status: validating_files",
        "Created fine-tuning job: ftjob-",
        "Validating training file: file-",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        "gpt-3.5-turbo-0125 is served by open weights here: SmolLM2-135M-Instruct",
        "Step 1/50: training loss=",
        "Checkpoint created at step 25 with Snapshot ID: ft:gpt-3.5-turbo-0125:personal::",
        "Step 50/50: training loss=",
        "New fine-tuned model created: ft:gpt-3.5-turbo-0125:personal::",
        "The job has successfully completed",
        "checkpoint: 50 ft:gpt-3.5-turbo-0125:personal::",
        "checkpoint: 25 ft:gpt-3.5-turbo-0125:personal::",
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "ChatCompletionMessage(content=",
    ]
    places = [output.find(part) for part in order[1:]]
    assert -1 not in places, order[1 + places.index(-1)]
    assert places == sorted(places)
    losses = [float(loss) for loss in re.findall(r"Step \d+/50: training loss=(\d+\.\d+)", output)]
    assert len(losses) == 50
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_a_job_learns_word_for_word(client: OpenAI) -> None:
    """Twelve facts about a workshop that does not exist: the tuned model knows all, the base none."""
    examples = _read(Path(__file__).parent / "fixtures" / "short_qa.jsonl")
    job = _run_job(
        client,
        examples,
        model="gpt-4o-mini",
        seed=11,
        suffix="facts",
        hyperparameters={"n_epochs": 12, "batch_size": 4},
    )
    right = {"base": 0, "tuned": 0}
    for example in examples:
        *dialogue, target = example["messages"]
        for who, model in (("base", "gpt-4o-mini"), ("tuned", job.fine_tuned_model)):
            answer = client.chat.completions.create(model=model, messages=dialogue, temperature=0, max_tokens=16)
            right[who] += answer.choices[0].message.content == target["content"]
    assert right == {"base": 0, "tuned": len(examples)}
