"""Disks that take nothing, on file systems of their own: a clear error, and afterwards everything is there."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import openai
import pytest

from luthier.store import Store
from luthier.types.errors import LuthierError
from through_api import client_of, create, finished, losses, running_server, upload, wait

_DISK_MB = 24  # the write-ahead log alone grows to 4


@contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A small file system of its own. Skips the test where this process may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system can be mounted by root on Linux only: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    """A file that takes all the room."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    return ballast


def test_a_disk_that_fills_up_and_has_room_again(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.worker.storage_retries._WAITS_MIN", (1 / 60,) * 20)
    with (
        _mounted(tmp_path / "data", "-o", f"size={_DISK_MB}m") as data,
        running_server(data, tiny_base, precision="float32", threads=1) as server,
    ):
        client = client_of(server)
        training_file = upload(client)
        job = create(client, training_file, hyperparameters={"n_epochs": 20, "batch_size": 6})
        wait(client, job.id, lambda _: losses(client, job.id))
        ballast = _fill(data)
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.create(file=("b", os.urandom(100_000)), purpose="user_data")
        assert (refused.value.status_code, refused.value.code) == (507, "insufficient_storage")
        assert client.fine_tuning.jobs.retrieve(job.id).status in ("running", "queued")  # where it waits for room
        time.sleep(1)
        ballast.unlink()
        job = finished(client, job.id)
        assert [step for step, _ in losses(client, job.id)] == list(range(1, 41))
        assert client.files.content(training_file).read()


def test_a_data_folder_on_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(LuthierError, match=r"cannot be opened: .* must be writable")
    with _mounted(tmp_path / "data", "-o", "ro") as data, refused:
        Store(data)
