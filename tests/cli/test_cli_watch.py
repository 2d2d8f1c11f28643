"""Following a job: every event once and in order, however it ends and whoever interrupts."""

import json
import os
import signal
from io import StringIO
from pathlib import Path

import openai
import pytest
from command_line import Run, run
from fake_api import MODEL, FakeAPI, Job, event, happy_script, step_event
from rich.console import Console

from luthier.cli.watch import EventFeed, watch_job

pytestmark = pytest.mark.services

MANY = [event(0, "Created fine-tuning job"), *(step_event(n, n, 250) for n in range(1, 251))]


def client(api: FakeAPI) -> openai.OpenAI:
    return openai.OpenAI(base_url=api.base_url, api_key="k")


def test_every_event_once_and_in_order_over_many_pages(api: FakeAPI, luthier: Run) -> None:
    script = [("running", output) for output in (0, 1, 130, 131, 131, 200)] + [("succeeded", len(MANY))]
    api.add_job("ftjob-1", MANY, script)
    result = luthier("watch", "ftjob-1")
    lines = [line.split("  ", 1)[1] for line in result.stderr.splitlines()[: len(MANY)]]
    assert lines == [item["message"] for item in MANY]
    assert result.stdout == f"{MODEL}\n"
    assert result.exit_code == 0


def test_events_of_one_second_may_trade_places(api: FakeAPI) -> None:
    job = api.add_job("ftjob-1", MANY[:30], [("running", 30)])
    with client(api) as caller:
        feed = EventFeed(caller, "ftjob-1")
        first = [item.id for item in feed.new_events()]
        job.events = [*MANY[:28], MANY[30], MANY[28], MANY[29]]
        job.script = [("running", 31)]
        assert [item.id for item in feed.new_events()] == [MANY[30]["id"]]
        assert feed.new_events() == []
    assert first == [item["id"] for item in MANY[:30]]


def test_a_failed_job_says_why(api: FakeAPI, luthier: Run) -> None:
    api.add_job("ftjob-1", [event(0, "No good", level="error")], [("validating_files", 0), ("failed", 1)])
    result = luthier("watch", "ftjob-1")
    assert result.exit_code == 1
    assert "No good" in result.stderr
    assert "invalid_training_file" in result.stderr
    assert "Line 3 is broken" in result.stderr
    assert result.stdout == ""


def test_a_cancelled_job_is_no_success(api: FakeAPI, luthier: Run) -> None:
    api.add_job("ftjob-1", [], [("cancelled", 0)])
    assert luthier("watch", "ftjob-1").exit_code == 1


def test_a_paused_job_is_waited_for_and_told_once(api: FakeAPI, luthier: Run) -> None:
    events, _ = happy_script()
    api.add_job("ftjob-1", events, [("paused", 1), ("paused", 1), ("running", 3), ("succeeded", 6)])
    result = luthier("watch", "ftjob-1")
    assert result.exit_code == 0
    assert result.stderr.count("luthier jobs resume ftjob-1") == 1


def test_a_busy_server_is_waited_for(api: FakeAPI, luthier: Run) -> None:
    job = api.add_job("ftjob-1", *happy_script())

    def fail_in_the_middle(job: Job) -> None:
        if job.retrieved == 2:
            api.failures += [(503, b"{}"), (429, b"{}"), (502, b"<html>proxy</html>"), (500, b"{}")]

    api.on_retrieve = fail_in_the_middle
    result = luthier("watch", "ftjob-1")
    assert result.exit_code == 0
    assert [line.split("  ", 1)[1] for line in result.stderr.splitlines()[:6]] == [e["message"] for e in job.events]


def interrupt_at(poll: int) -> object:
    def interrupt(job: Job) -> None:
        if job.retrieved == poll:
            os.kill(os.getpid(), signal.SIGINT)

    return interrupt


LONG = [("running", 1)] * 200 + [("succeeded", 1)]


def test_ctrl_c_leaves_the_job_and_says_how_to_return(api: FakeAPI, luthier: Run) -> None:
    api.add_job("ftjob-1", MANY, LONG)
    api.on_retrieve = interrupt_at(3)  # type: ignore[assignment]
    result = luthier("watch", "ftjob-1", "--base-url", api.base_url)
    assert result.exit_code == 130
    assert "continues" in result.stderr
    assert f"luthier watch ftjob-1 --base-url {api.base_url}" in result.stderr
    assert not any(path.endswith("cancel") for _, path, _ in api.requests)


def test_ctrl_c_with_an_embedded_server_says_where_the_job_stays(api: FakeAPI, embedded: list[Path | None]) -> None:
    api.add_job("ftjob-1", MANY, LONG)
    api.on_retrieve = interrupt_at(2)  # type: ignore[assignment]
    result = run("watch", "ftjob-1", "--data", "my data")
    assert result.exit_code == 130
    assert "is being saved in my data" in result.stderr
    assert "luthier watch ftjob-1 --data 'my data'" in result.stderr


def test_json_is_the_job_and_nothing_else(api: FakeAPI, luthier: Run) -> None:
    api.add_job("ftjob-1", *happy_script())
    assert json.loads(luthier("watch", "ftjob-1", "--json").stdout)["fine_tuned_model"] == MODEL


def test_a_terminal_gets_a_bar_with_both_losses(api: FakeAPI) -> None:
    api.add_job("ftjob-1", *happy_script())
    console = Console(file=StringIO(), force_terminal=True, width=100, markup=False)
    with client(api) as caller:
        assert watch_job(caller, "ftjob-1", console).status == "succeeded"
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "4/4" in output
    assert "loss 0.500  valid 0.750" in output
    assert "The job has successfully completed" in output
    assert "Step 2/4" not in output


def test_services_that_send_no_data_have_a_bar_too(api: FakeAPI) -> None:
    bare = event(1, "Step 3/9: training loss=0.50") | {"data": None, "type": None}
    api.add_job("ftjob-1", [bare], [("succeeded", 1)])
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with client(api) as caller:
        watch_job(caller, "ftjob-1", console)
    assert "3/9" in console.file.getvalue()  # type: ignore[attr-defined]
