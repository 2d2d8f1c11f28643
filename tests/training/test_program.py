"""`python -m luthier.training JOBDIR` as a program: its exit codes, its lines, its end."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.worker.trainer_process import LocalTrainerProcess
from training.jobs import write_job

PROGRAM = [sys.executable, "-m", "luthier.training"]


def _start(folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *flags, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_it_says_each_event_on_a_line_and_in_the_folder(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base)
    done = subprocess.run([*PROGRAM, str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0] == {"type": "started", "protocol": 2}
    assert events[-1]["type"] == "finished"
    assert (folder / "events.jsonl").read_bytes() == done.stdout


def test_what_it_cannot_do_it_says(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tmp_path / "no such base")
    done = subprocess.run([*PROGRAM, str(folder)], capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "failed"
    done = subprocess.run([*PROGRAM, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


def test_a_full_disk_is_the_machines_fault_and_the_state_before_stays(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base)

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))  # the adapter has room, the state has not

    done = subprocess.run([*PROGRAM, str(folder)], capture_output=True, check=False, preexec_fn=no_room)
    assert done.returncode == 74, done.stderr.decode()
    assert b"failed" not in done.stdout
    done = subprocess.run([*PROGRAM, str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("how", ["signal", "command", "parent"])
def test_it_stops_with_its_state_saved(tmp_path: Path, tiny_base: Path, how: str) -> None:
    folder = write_job(tmp_path / "job", tiny_base, n_epochs=2000)
    process = _start(folder, "--stop-with-parent")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == "metrics":
            break
    assert process.stdin is not None
    if how == "signal":
        process.send_signal(signal.SIGTERM)
    elif how == "command":
        process.stdin.write(b'{"type": "stop"}\n')
        process.stdin.flush()
    else:
        process.stdin.close()  # what a dying parent does
    output = process.stdout.read()
    assert process.wait() == 75
    assert (folder / "state" / "state-0.safetensors").exists()
    assert b"finished" not in output
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_a_module_in_the_folder_of_the_caller_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person starts the server in a folder of their own, with a `torch.py` or `queue.py` in it."""
    for name in ("torch.py", "json.py", "luthier.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the folder of the caller')")
    monkeypatch.chdir(tmp_path)
    trainer = LocalTrainerProcess(tmp_path)
    trainer.start()
    list(trainer.events())
    assert trainer.wait() != 0  # there is no job in the folder
    log = (tmp_path / "trainer.log").read_text()
    assert "usage: python -m luthier.training" in log
    assert "imported from the folder" not in log
