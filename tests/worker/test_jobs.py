"""Jobs through the front door, on the tiny base: from files to a model, and everything that can come between."""

import base64
import json
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai import BadRequestError, OpenAI

from luthier.catalogue.rates import rate_key, read_rates
from luthier.data.findings import Report
from luthier.evaluation.losses import loss_metrics
from luthier.evaluation.service import OpenAIService
from luthier.runtime import LuthierServer
from luthier.settings import Settings
from through_api import (
    PATIENCE_S,
    client_of,
    create,
    finished,
    losses,
    messages,
    running_server,
    serve,
    upload,
    wait,
)
from training.jobs import EXAMPLES
from training.test_preference import PAIRS


@pytest.fixture(scope="module", autouse=True)
def _marked() -> Iterator[None]:
    """Programs started from here on can be told from those of another run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARTED_BY_TESTS", str(os.getpid()))
        yield


def trainers() -> list[psutil.Process]:
    """Trainer programs of these tests that are alive, orphans too."""
    alive = []
    for process in psutil.process_iter(["cmdline", "status", "environ"]):
        words, marks = process.info["cmdline"] or [], process.info["environ"] or {}
        ours = "luthier.training" in words and marks.get("STARTED_BY_TESTS") == str(os.getpid())
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            alive.append(process)
    return alive


def create_long(client: OpenAI) -> Any:
    """A job that does not end by itself while a test runs."""
    return create(client, upload(client, EXAMPLES * 20), hyperparameters={"n_epochs": 50, "batch_size": 1})


def await_end(trainer: psutil.Process) -> None:
    """Without psutil's `wait`, which would take its exit code from the worker, who waits for it too."""
    end = time.monotonic() + PATIENCE_S
    while trainer in trainers():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def running(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuthierServer]:
    with running_server(tmp_path_factory.mktemp("data"), tiny_base, precision="float32", threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(running: LuthierServer) -> OpenAI:
    return client_of(running)


def test_a_model_trained_on_pairs_completes_prompts_as_it_was_taught(client: OpenAI) -> None:
    """Inside the template in which the prompts of its pairs stood; other models go on with the bare text."""
    pairs = [{"prompt": f"number {at} ->", "completion": "odd" if at % 2 else "even"} for at in range(10)]
    job = finished(client, create(client, upload(client, pairs), model="babbage-002").id)
    used = [
        client.completions.create(model=model, prompt="number 3 ->", max_tokens=1).usage.prompt_tokens
        for model in ("babbage-002", job.fine_tuned_model)
    ]
    assert used[0] == len("number 3 ->") < used[1]


def test_preferences_are_trained_from_files_to_model(running: LuthierServer, client: OpenAI) -> None:
    """And the folder of a job that is over keeps nothing but what people read."""
    body = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "beta": 0.2}}}
    files = {"training_file": upload(client, PAIRS), "validation_file": upload(client, PAIRS[:2])}
    created = client.fine_tuning.jobs.create(model="gpt-3.5-turbo", method=body, **files)
    job = finished(client, created.id)
    assert (job.method.type, job.method.dpo.hyperparameters.beta) == ("dpo", 0.2)
    assert losses(client, job.id)[0][1] == pytest.approx(math.log(2), rel=1e-4)
    answer = client.chat.completions.create(
        model=job.fine_tuned_model, messages=[{"role": "user", "content": "number 3"}], max_tokens=2
    )
    assert answer.choices[0].message.content is not None
    expected = {"job.json", "trainer.log", "trainer.lock"}
    folder = running._settings.data / "jobs" / job.id
    wait(client, job.id, lambda _: {path.name for path in folder.iterdir()} <= expected)
    with pytest.raises(BadRequestError, match=r"method\.dpo\.hyperparameters"):
        create(client, files["training_file"], method={"type": "dpo"})
    wrong = wait(client, create(client, files["training_file"]).id)
    assert (wrong.status, wrong.error.code) == ("failed", "invalid_training_file")


def test_a_job_from_files_to_model(running: LuthierServer, client: OpenAI) -> None:
    train, valid = upload(client), upload(client, EXAMPLES[:3])
    job = create(client, train, validation_file=valid, suffix="odd-even", seed=7, metadata={"team": "a"})
    assert (job.status, job.model, job.fine_tuned_model) == ("validating_files", "gpt-3.5-turbo-0125", None)
    assert job.error is None
    job = finished(client, job.id)
    assert re.fullmatch(r"ft:gpt-3\.5-turbo-0125:personal:odd-even:[A-Za-z0-9]{8}", job.fine_tuned_model)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, 4)
    assert job.hyperparameters.learning_rate_multiplier == 1.0
    assert job.method.supervised.hyperparameters.learning_rate_multiplier == 1.0
    assert job.trained_tokens > 0
    assert job.finished_at >= job.created_at
    message = messages(client, job.id)
    assert message[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {train} and validation file: {valid}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert re.fullmatch(r"gpt-3\.5-turbo-0125 is served by open weights here: .*tiny.*", message[4])
    steps = [line for line in message if line.startswith("Step ")]
    assert len(steps) == 6
    assert re.fullmatch(r"Step 1/6: training loss=\d+\.\d\d", steps[0])
    assert re.fullmatch(r"Step 3/6: training loss=\d+\.\d\d, full validation loss=\d+\.\d\d", steps[2])
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [6, 3]
    assert checkpoints[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    earlier = checkpoints[1].fine_tuned_model_checkpoint
    assert re.fullmatch(r"ft:gpt-3\.5-turbo-0125:personal:odd-even:[A-Za-z0-9]{8}:ckpt-step-3", earlier)
    assert message[-5] == steps[-1]
    assert message[-4].startswith("Saved; the serving engine is loading the model")
    assert message[-3].startswith(
        "Parity check passed: the serving engine reproduces the trained model (mean difference 0.00"
    )
    assert message[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]
    assert f"Checkpoint created at step 3 with Snapshot ID: {earlier}" in message
    assert checkpoints[1].metrics.full_valid_loss is not None
    for model in (job.fine_tuned_model, earlier):
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "number 3"}], max_tokens=8
        )
        assert answer.model == model
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    _tells_the_losses_of_training(client, job.fine_tuned_model, checkpoints[0].metrics)
    key = rate_key(Path(running.base), "auto", "float32", 1, full=False)
    rates = [rate for rate in read_rates(Settings().cache, key) if rate.measured_at >= job.created_at]
    assert ("job", 5) in [(rate.source, rate.steps) for rate in rates]  # beside those of tests that run meanwhile


def _tells_the_losses_of_training(client: OpenAI, model: str, metrics: Any) -> None:
    """On its validation file; the base has others."""
    service = OpenAIService(client)
    tuned, base = (
        loss_metrics(service.losses(name, EXAMPLES[:3]), complete=True)[0] for name in (model, "gpt-3.5-turbo")
    )
    assert tuned["full_valid_loss"].value == pytest.approx(metrics.full_valid_loss, abs=0.02)
    accuracy = metrics.full_valid_mean_token_accuracy
    assert tuned["full_valid_mean_token_accuracy"].value == pytest.approx(accuracy, abs=0.05)
    assert abs(base["full_valid_loss"].value - metrics.full_valid_loss) > 0.1
    assert [epoch for epoch, _ in service.loss_history(model)] == [1, 2]


def test_the_result_file_is_a_csv_in_base64(client: OpenAI) -> None:
    job = finished(client, create(client, upload(client), validation_file=upload(client, EXAMPLES[:2])).id)
    (result,) = job.result_files
    assert client.files.retrieve(result).purpose == "fine-tune-results"
    rows = base64.b64decode(client.files.content(result).read()).decode().splitlines()
    assert rows[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    for (step, loss), row in zip(losses(client, job.id), rows[1:], strict=True):
        cells = row.split(",")
        assert (int(cells[0]), float(cells[1])) == (step, round(loss, 5))
        assert cells[3] == ""  # no step of these ten is one that validates


def test_no_suffix_leaves_two_colons(client: OpenAI) -> None:
    job = finished(client, create(client, upload(client), hyperparameters={"n_epochs": 1, "batch_size": 12}).id)
    assert re.fullmatch(r"ft:gpt-3\.5-turbo-0125:personal::[A-Za-z0-9]{8}", job.fine_tuned_model)


def test_what_a_job_makes_is_its_projects(client: OpenAI) -> None:
    mine, other = client.copy(project="proj_mine"), client.copy(project="proj_other")
    job = finished(mine, create(mine, upload(mine), hyperparameters={"n_epochs": 1, "batch_size": 12}).id)
    assert mine.files.retrieve(job.result_files[0]).id == job.result_files[0]
    assert mine.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    with pytest.raises(openai.NotFoundError):
        other.files.retrieve(job.result_files[0])
    with pytest.raises(openai.NotFoundError):
        other.models.retrieve(job.fine_tuned_model)


def test_training_goes_on_from_a_fine_tuned_model(client: OpenAI) -> None:
    first = finished(client, create(client, upload(client), hyperparameters={"n_epochs": 6, "batch_size": 4}).id)
    second = create(client, upload(client), model=first.fine_tuned_model)
    assert second.model == first.fine_tuned_model
    second = finished(client, second.id)
    assert re.fullmatch(r"ft:gpt-3\.5-turbo-0125:personal::[A-Za-z0-9]{8}", second.fine_tuned_model)
    assert losses(client, second.id)[0][1] < losses(client, first.id)[0][1] / 2


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        (EXAMPLES[:3], "invalid_n_examples", "Training file has 3 example(s), but must have at least 10 examples"),
        (b"\n".join(json.dumps(line).encode() for line in EXAMPLES) + b'\n{"messages": [', None, "Line 13"),
        ([*EXAMPLES, {"messages": [{"content": "no role"}]}], None, "Example 13, message 1 Discriminator 'role'"),
        ([{"prompts": "?"}] * 10, None, "Unexpected file format"),
        (b"\n", "invalid_n_examples", "0 example(s)"),
        (os.urandom(2000), None, ""),
    ],
    ids=["too few", "not JSON", "no role", "other format", "empty", "noise"],
)
def test_bad_files_fail_the_job_and_the_server_goes_on(
    client: OpenAI, lines: Any, code: str | None, message: str
) -> None:
    job = wait(client, create(client, upload(client, lines)).id)
    assert job.status == "failed"
    assert job.error.code == (code or "invalid_training_file")
    assert message in job.error.message
    assert job.error.param == "training_file"
    assert (job.fine_tuned_model, job.trained_tokens, job.result_files) == (None, None, [])
    assert job.hyperparameters.learning_rate_multiplier == "auto"
    assert messages(client, job.id)[-1].startswith("The job failed: ")


def test_the_report_of_a_file_is_kept_with_it(client: OpenAI) -> None:
    file_id = upload(client, [*EXAMPLES, {"messages": [{"content": "no role"}]}, {"messages": []}])
    with pytest.raises(openai.NotFoundError, match="no job has validated it"):
        client.get(f"/files/{file_id}/report", cast_to=httpx.Response)
    job = wait(client, create(client, file_id).id)
    assert any(f"/v1/files/{file_id}/report" in text for text in messages(client, job.id))
    report = client.get(f"/files/{file_id}/report", cast_to=httpx.Response).json()
    assert (report["object"], report["file_id"], report["ok"]) == ("file.report", file_id, False)
    assert {(entry["code"], entry["line"]) for entry in report["findings"] if entry["severity"] == "error"} >= {
        ("message_missing_key", 13),
        ("missing_messages_list", 14),
    }
    assert Report.from_dict(report).to_dict("en").items() <= report.items()
    client.files.delete(file_id)
    with pytest.raises(openai.NotFoundError, match="No such File"):
        client.get(f"/files/{file_id}/report", cast_to=httpx.Response)


def test_a_bad_validation_file_is_named(client: OpenAI) -> None:
    job = wait(client, create(client, upload(client), validation_file=upload(client, b"nonsense\n")).id)
    assert (job.error.code, job.error.param) == ("invalid_validation_file", "validation_file")


def test_a_job_that_waits_has_its_files_already(client: OpenAI) -> None:
    file_id = upload(client)
    first = create_long(client)
    second = create(client, file_id)
    wait(client, second.id, lambda job: job.status == "queued")
    client.files.delete(file_id)
    client.fine_tuning.jobs.cancel(first.id)
    finished(client, second.id)


def test_a_file_deleted_before_its_job_starts_is_named(tmp_path: Path, tiny_base: Path) -> None:
    with running_server(tmp_path, tiny_base) as running:
        client = client_of(running)
        running._worker.stop()
        file_id = upload(client)
        job = create(client, file_id)
        client.files.delete(file_id)
        running._worker = running._installation.worker()
        running._worker.start()
        job = wait(client, job.id)
    assert (job.status, job.error.code) == ("failed", "invalid_training_file")
    assert job.error.message == f"File '{file_id}' does not exist any more."


LONG = {"messages": [{"role": "user", "content": "q" * 3000}, {"role": "assistant", "content": "a"}]}


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_what_the_base_cannot_be_trained_on_fails_before_training(client: OpenAI, param: str) -> None:
    """A question longer than the base reads: the job is never queued, and the report of the file has the line."""
    files = {"training_file": upload(client), "validation_file": upload(client)}
    files[param] = upload(client, [*EXAMPLES, LONG])
    job = wait(client, create(client, files["training_file"], validation_file=files["validation_file"]).id)
    assert (job.status, job.error.code, job.error.param) == ("failed", f"invalid_{param}", param)
    assert (
        "Line 13: nothing is left to train: every answer is beyond the base model's context of 2048"
        in job.error.message
    )
    texts = messages(client, job.id)
    assert not any("moving job to queued" in text for text in texts)
    assert any(f"Findings in {files[param]}: nothing_trainable_in_context x1" in text for text in texts)


def test_the_metadata_shape_the_adapter(client: OpenAI) -> None:
    shape = {"luthier:rank": "4", "luthier:targets": "v_proj,up_proj"}
    job = finished(client, create(client, upload(client), metadata=shape, hyperparameters={"n_epochs": 1}).id)
    message = messages(client, job.id)
    assert any(text.endswith("LoRA of rank 4, alpha 8, on up_proj, v_proj") for text in message)
    assert any("the serving engine reproduces the trained model" in text for text in message)
    with pytest.raises(BadRequestError, match="It has attention: k_proj, o_proj, q_proj, v_proj; mlp:") as caught:
        create(client, upload(client), metadata={"luthier:targets": "c_attn"})
    assert (caught.value.code, caught.value.param) == ("invalid_targets", "metadata")
    with pytest.raises(BadRequestError, match="the shape of its adapter is fixed"):
        create(client, upload(client), model=job.fine_tuned_model, metadata={"luthier:rank": "8"})


def test_a_job_that_stops_early_agrees_with_its_files(client: OpenAI) -> None:
    contrary = [{"messages": [*lines["messages"][:-1], {"role": "assistant", "content": "zzz"}]} for lines in EXAMPLES]
    job = create(
        client,
        upload(client),
        validation_file=upload(client, contrary),
        metadata={"luthier:early_stopping": "1"},
        hyperparameters={"n_epochs": 12, "batch_size": 4, "learning_rate_multiplier": 5},
    )
    job = finished(client, job.id)
    (stopped_event,) = [text for text in messages(client, job.id) if text.startswith("Early stopping after step ")]
    stopped, best = (int(stopped_event.split()[place]) for place in (4, 13))
    rows = base64.b64decode(client.files.content(job.result_files[0]).content).decode().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, stopped + 1))
    steps = [checkpoint.step_number for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert steps[0] == stopped
    assert steps == list(range(stopped, 0, -3))[: len(steps)]
    assert f"The fine-tuned model is taken from step {best}," in " ".join(messages(client, job.id))
    assert client.models.retrieve(job.fine_tuned_model)


def test_cancel_ends_the_trainer(client: OpenAI) -> None:
    job = create_long(client)
    wait(client, job.id, lambda _: any(line.startswith("Step 3/") for line in messages(client, job.id)))
    (trainer,) = trainers()
    started = time.monotonic()
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    await_end(trainer)
    assert time.monotonic() - started < 120
    assert trainers() == []
    after = messages(client, job.id)
    assert after[-1] == "The job was cancelled"
    time.sleep(1)
    assert messages(client, job.id) == after
    with pytest.raises(BadRequestError, match="Job has already completed"):
        client.fine_tuning.jobs.cancel(job.id)


def test_cancel_while_waiting(client: OpenAI) -> None:
    first = create_long(client)
    second = create(client, upload(client))
    wait(client, second.id, lambda job: job.status == "queued")
    assert client.fine_tuning.jobs.cancel(second.id).status == "cancelled"
    client.fine_tuning.jobs.cancel(first.id)
    wait(client, first.id)
    assert messages(client, second.id)[-1] == "The job was cancelled"


def test_pause_and_resume(client: OpenAI) -> None:
    settings = {"hyperparameters": {"n_epochs": 10, "batch_size": 1}, "seed": 3}
    whole = finished(client, create(client, upload(client), **settings).id)
    job = create(client, upload(client), **settings)
    wait(client, job.id, lambda _: len(losses(client, job.id)) > 5)
    client.fine_tuning.jobs.pause(job.id)
    wait(client, job.id, lambda job: job.status == "paused")
    wait(client, job.id, lambda _: trainers() == [])
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    finished(client, job.id)
    assert losses(client, job.id) == losses(client, whole.id)


def test_a_dead_trainer_is_replaced(client: OpenAI) -> None:
    settings = {"hyperparameters": {"n_epochs": 30, "batch_size": 1}, "seed": 3}
    whole = finished(client, create(client, upload(client), **settings).id)
    job = create(client, upload(client), **settings)
    wait(client, job.id, lambda _: len(losses(client, job.id)) > 12)
    trainers()[0].send_signal(signal.SIGKILL)
    job = finished(client, job.id)
    assert losses(client, job.id) == losses(client, whole.id)
    assert "The trainer was terminated externally (signal 9)" in " ".join(messages(client, job.id))


def test_a_trainer_that_is_killed_again_and_again_goes_on(client: OpenAI) -> None:
    job = create(client, upload(client), hyperparameters={"n_epochs": 3, "batch_size": 1})
    for _ in range(3):
        wait(client, job.id, lambda _: trainers())
        for trainer in trainers():
            trainer.kill()
            await_end(trainer)
    job = finished(client, job.id)
    assert messages(client, job.id).count("Fine-tuning job started") == 1


def test_three_checkpoints_are_kept(client: OpenAI) -> None:
    job = finished(client, create(client, upload(client), hyperparameters={"n_epochs": 5, "batch_size": 6}).id)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [10, 8, 6]


def test_a_deleted_model_is_gone(client: OpenAI, running: LuthierServer) -> None:
    job = finished(client, create(client, upload(client), hyperparameters={"n_epochs": 1, "batch_size": 12}).id)
    assert client.models.delete(job.fine_tuned_model).deleted
    assert job.fine_tuned_model not in [model.id for model in client.models.list()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_server_that_ends_loses_nothing(
    client: OpenAI, tmp_path: Path, tiny_base: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes on from where it was, and takes the very steps of one that was left in peace."""
    settings = {"hyperparameters": {"n_epochs": 20, "batch_size": 1}, "seed": 3}
    whole = finished(client, create(client, upload(client), **settings).id)
    process, mine = serve(tmp_path / "data", tiny_base, tmp_path / "log")
    job = create(mine, upload(mine), **settings)
    wait(mine, job.id, lambda _: len(losses(mine, job.id)) > 30)
    process.send_signal(how)
    process.wait(PATIENCE_S)
    assert how == signal.SIGKILL or trainers() == []
    # Killed: the trainer may still be in its last step; the next worker waits for it and misses nothing it says.
    process, mine = serve(tmp_path / "data", tiny_base, tmp_path / "log")
    try:
        job = finished(mine, job.id)
        assert losses(mine, job.id) == losses(client, whole.id)
        notes = [line for line in messages(mine, job.id) if line.startswith("Checkpoint created")]
        assert len(notes) == len({line.split()[4] for line in notes}) == 19  # each epoch but the last, once
        answer = mine.chat.completions.create(
            model=job.fine_tuned_model, messages=[{"role": "user", "content": "number 3"}], max_tokens=8, temperature=0
        )
        assert answer.choices[0].finish_reason in ("stop", "length")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
