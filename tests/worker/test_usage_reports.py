"""What a worker reports of a running trainer."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from luthier.store import Event, Store
from luthier.store.trainer_usage import Usage
from luthier.training.protocol import Metrics
from luthier.worker.trainer_process import LocalTrainerProcess
from luthier.worker.usage_reports import UsageReports
from store.test_store import JOB


class Trainer(LocalTrainerProcess):
    """One that is never started."""

    def resident_bytes(self) -> int:
        return 7


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def test_tokens_a_second_are_those_of_the_last_minute(store: Store, tmp_path: Path) -> None:
    job_id = store.jobs.create(**JOB).id
    store.jobs.transition(job_id, ("validating_files",), "running", Event("started"))
    now_s = 100.0
    reports = UsageReports(store.jobs.get(job_id), store, Trainer(tmp_path), lambda: now_s)

    def reported() -> Usage:
        return store.trainer_usage.of_running()[job_id]

    def step(after_s: float, tokens: int) -> None:
        nonlocal now_s
        now_s += after_s
        reports.add(Metrics(step=1, total_steps=9, metrics={}, tokens=tokens, gpu_bytes=3))

    step(0, 900)
    assert reported() == Usage(None, 7, 3)
    step(2, 900)
    assert reported().tokens_per_second is None  # reported a moment ago
    step(8, 100)
    assert reported().tokens_per_second == (900 + 100) / 10
    for _ in range(6):
        step(10, 50)
    assert reported().tokens_per_second == 50 / 10
    step(500, 50)  # a validation, say
    assert reported().tokens_per_second == pytest.approx(50 / 500)


def test_memory_is_that_of_all_processes_of_a_trainer(tmp_path: Path) -> None:
    trainer = LocalTrainerProcess(tmp_path)
    command = ["sh", "-c", "sleep 60 & echo started; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as trainer._process:
        assert trainer._process.stdout
        trainer._process.stdout.readline()
        shell = psutil.Process(trainer._process.pid)
        while (child := shell.children()[0]).name() != "sleep" or child.status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)  # it is the shell still, or begins
        resident = [process.memory_info().rss for process in (shell, child)]
        assert trainer.resident_bytes() == pytest.approx(sum(resident), rel=0.2)
        trainer.kill()
    assert trainer.resident_bytes() is None
