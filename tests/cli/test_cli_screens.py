"""Golden screens: what every command that prints a table shows on a terminal of 80 columns, in both languages.

`WRITE_SCREENS=1 pytest tests/cli/test_cli_screens.py` writes them anew; review the difference.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import openai
import pytest
from command_line import Run
from fake_api import FakeAPI, event, step_event
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from rich.console import Console

from luthier.cli import output
from luthier.cli.click_texts import cell_width
from luthier.cli.sweep_report import print_ranking
from luthier.cli.watch import JobProgress, watch_job
from luthier.training.protocol import Resumed
from luthier.worker.job_messages import trainer_notice

pytestmark = pytest.mark.services

SCREENS = Path(__file__).parent / "screens"
TUNED = "ft:gpt-4o-mini-2024-07-18:personal:customer-tickets:AbCdEfGh"
OTHER = "ft:gpt-4o-mini-2024-07-18:personal:customer-tickets-v2:IjKlMnOp"
WIDTH = 80


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both outputs are terminals of 80 columns without colours; the clock is in UTC."""

    def console(*, stderr: bool) -> Console:
        return output.WrappingConsole(
            stderr=stderr, markup=False, highlight=False, emoji=False, force_terminal=True, width=WIDTH,
            color_system=None, no_color=True,
        )  # fmt: skip

    monkeypatch.setattr(output, "_console", console)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(params=["en", "zh"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LUTHIER_LANG", request.param)
    return str(request.param)


@pytest.fixture
def filled(api: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> FakeAPI:
    """Jobs, files and models with names as long as real ones."""
    events = [
        event(0, "Created fine-tuning job: ftjob-Q7n3fXo2aGk9LwPzRtYcVb1M"),
        event(1, "4,884,480 parameters are trained: LoRA of rank 16, alpha 32, on q_proj, k_proj, v_proj, o_proj"),
        step_event(2, 1, 40),
        event(3, f"Checkpoint created at step 20 with Snapshot ID: {TUNED}:ckpt-step-20"),
    ]
    job_id = "ftjob-Q7n3fXo2aGk9LwPzRtYcVb1M"
    api.add_job(job_id, events, [("succeeded", 4)], model="gpt-4o-mini-2024-07-18")
    api.add_job("ftjob-second", [], [("running", 0)], model="gpt-4o-mini-2024-07-18")
    api.add_file("file-Q7n3fXo2aGk9LwPzRtYcVb1M", "customer-tickets-2026-11.train.jsonl", b"x" * 123456)

    def jobs_route(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest[1:] == ["checkpoints"]:
            points = [(40, 1.234567, 2.4791), (20, 1.5, None)]
            return {"object": "list", "has_more": False, "data": [_checkpoint(job_id, *point) for point in points]}
        answer = original(method, rest, query, body)
        for job in answer.get("data", [answer]):
            if job.get("fine_tuned_model"):
                job["fine_tuned_model"] = TUNED
        return answer

    original = api.jobs_route
    monkeypatch.setattr(api, "jobs_route", jobs_route)
    monkeypatch.setattr(api, "models_route", lambda *request: {"object": "list", "data": MODELS, "has_more": False})
    return api


def _checkpoint(job_id: str, step: int, train_loss: float, valid_loss: float | None) -> dict[str, Any]:
    metrics = {"step": step, "train_loss": train_loss, "full_valid_loss": valid_loss}
    return {
        "id": f"ftckpt-{step}", "object": "fine_tuning.job.checkpoint", "created_at": 1_700_000_000,
        "step_number": step,
        "fine_tuned_model_checkpoint": f"{TUNED}:ckpt-step-{step}", "metrics": metrics, "fine_tuning_job_id": job_id,
    }  # fmt: skip


def _model(name: str, **values: Any) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "luthier", **values}


MODELS = [
    _model("smollm2-135m-instruct"),
    _model("Qwen/Qwen3-0.6B", source="hf:Qwen/Qwen3-0.6B"),
    *(_model(name, root="smollm2-135m-instruct") for name in ("gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini", "gpt-4.1",
      "gpt-4.1-mini-2025-04-14", "gpt-4o-mini-2024-07-18", "davinci-002", "text-embedding-3-small")),
    _model("gpt-5", root="gpt-5", owned_by="upstream"),
    _model(TUNED, root="smollm2-135m-instruct", parent="gpt-4o-mini-2024-07-18"),
]  # fmt: skip


def screen(name: str, language: str, text: str) -> None:
    """Compares with the golden screen and checks what holds for all: 80 cells, except for names that are longer."""
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    for line in text.splitlines():
        assert cell_width(line) <= WIDTH or max(map(cell_width, line.split())) > 40, line
    path = SCREENS / f"{name}.{language}.txt"
    if os.environ.get("WRITE_SCREENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words",
    [
        "jobs list", "jobs show ftjob-Q7n3fXo2aGk9LwPzRtYcVb1M", "jobs events ftjob-Q7n3fXo2aGk9LwPzRtYcVb1M",
        "jobs checkpoints ftjob-Q7n3fXo2aGk9LwPzRtYcVb1M", "files list", "models list",
    ],
)  # fmt: skip
def test_lists(luthier: Run, filled: FakeAPI, language: str, words: str) -> None:
    result = luthier(*words.split())
    screen("-".join(words.split()[:2]), language, result.stdout)


@pytest.mark.parametrize("words", ["jobs list", "files list"])
def test_empty_lists_say_how_to_begin(luthier: Run, language: str, words: str) -> None:
    screen("empty-" + words.replace(" ", "-"), language, luthier(*words.split()).stdout)


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The fine-tuned model repeats the reference, the other one half of it."""
    number = body["messages"][-1]["content"].split()[-1]
    content = f"answer number {number}" if body["model"] == TUNED else f"answer, my dear friend, {number}"
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 41, "completion_tokens": 9, "total_tokens": 50}
    about = {"id": "c", "created": 1, "model": body["model"], "object": "chat.completion"}
    return about | {"choices": [choice], "usage": usage}


@pytest.mark.parametrize("against", [1, 4])
def test_evaluate_with_real_names(
    luthier: Run, api: FakeAPI, language: str, against: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "valid.jsonl"
    lines = [
        [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer number {n}"}]
        for n in range(5)
    ]
    path.write_text("".join(json.dumps({"messages": line}) + "\n" for line in lines))
    monkeypatch.setattr(api, "chat_route", lambda method, rest, query, body: answer(body))
    monkeypatch.setattr(api, "evaluations_route", losses)
    others = ["gpt-4o-mini", OTHER, OTHER + ":ckpt-step-20", OTHER + ":ckpt-step-40"][:against]
    result = luthier("evaluate", TUNED, path, *(word for name in others for word in ("--against", name)))
    text = re.sub(r"\d+\.\d\d(?=\s|$)", "0.01", result.stdout.replace(str(path), "valid.jsonl"))  # seconds
    assert "loss" in text or "损失" in text
    screen(f"evaluate-{against + 1}", language, text)


def losses(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
    if rest != ["losses"]:
        return {"id": "evaluation-1"}
    nats = 0.056 if body["model"] == TUNED else 2.888
    entry = {"loss": 4 * nats, "weight": 4.0, "tokens": 4, "correct_tokens": 3, "truncated": False}
    return {"object": "list", "model": body["model"], "data": [entry for _ in body["examples"]]}


def test_sweep(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = [
        {
            "job": f"ftjob-{number}", "status": "succeeded" if number else "cancelled", "valid_loss": 2.4791 + number,
            "fine_tuned_model": TUNED if number else None, "curve": [(5, 3.0 + number), (10, 2.4791 + number)],
            "hyperparameters": {"learning_rate_multiplier": 0.3, "n_epochs": 2, "batch_size": 4, "rank": 16},
            "score": 0.5,
        }
        for number in range(2)
    ]  # fmt: skip
    print_ranking(results, "chrf")
    screen("sweep", language, capsys.readouterr().out)


STEPS = [event(0, "Fine-tuning job started"), *(step_event(n * 400, n, 1234) for n in range(1, 41))]


def test_the_bar_fits_and_shows_figures_and_time_left_of_slow_steps(api: FakeAPI, language: str) -> None:
    api.add_job("ftjob-1", STEPS, [("running", 1), ("running", len(STEPS)), ("succeeded", len(STEPS))])
    console = Console(file=StringIO(), force_terminal=True, width=WIDTH, color_system=None)
    with openai.OpenAI(base_url=api.base_url, api_key="k") as client:
        watch_job(client, "ftjob-1", console)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", output).replace("\r", "\n").splitlines()
    bars = [line for line in lines if "40/1234" in line]
    assert bars
    assert all(cell_width(line) <= WIDTH for line in bars)
    assert all("0.050" in line and "0.075" in line for line in bars), bars


_NOW = 1_800_000_000


@pytest.fixture
def _the_clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.cli.watch.time.time", lambda: float(_NOW))


@pytest.mark.usefixtures("_the_clock_stands")
def test_time_left_follows_the_steps() -> None:
    progress = JobProgress()
    for step in (1, 2, 3):
        data = {"step": step, "total_steps": 10, "train_loss": 1.0}
        message = {"id": str(step), "object": "fine_tuning.job.event", "level": "info", "message": "", "data": data}
        progress.add(FineTuningJobEvent(created_at=_NOW - 80 * (3 - step), **message))
    job = FineTuningJob.construct(status="running", estimated_finish=None)
    assert progress.remaining(job) == "9:20 left"


@pytest.mark.usefixtures("_the_clock_stands")
@pytest.mark.parametrize("resumed", [trainer_notice(Resumed(step=2))[0].message, "The job was resumed"])
def test_a_pause_does_not_count_in_the_time_left(resumed: str) -> None:
    progress = JobProgress()
    common = {"object": "fine_tuning.job.event", "level": "info"}
    for step, ago_s in ((1, 7280), (2, 7200), (3, 80), (4, 0)):
        if step == 3:
            progress.add(FineTuningJobEvent(id="resumed", created_at=_NOW - 160, message=resumed, **common))
        data = {"step": step, "total_steps": 10, "train_loss": 1.0}
        progress.add(FineTuningJobEvent(id=str(step), created_at=_NOW - ago_s, message="", data=data, **common))
    assert progress.remaining(FineTuningJob.construct(status="running")) == "8:00 left"


def test_phases_without_events_are_announced(
    api: FakeAPI, luthier: Run, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.cli.watch.QUIET_S", 0.0)
    monkeypatch.setattr(output, "_console", lambda *, stderr: Console(stderr=stderr, width=240))
    done = [*STEPS[:1], step_event(1, 1, 1)]
    script = [("queued", 0), ("running", 1), ("running", 1), ("running", 2), ("running", 2), ("succeeded", 2)]
    api.add_job("ftjob-1", done, script)
    lines = luthier("watch", "ftjob-1").stderr
    phases = ("正在加载模型", "正在与推理引擎核对") if language == "zh" else ("loading the model", "comparing with the")
    assert [lines.count(phase) for phase in phases] == [1, 1]
