"""A data folder on a disk that fills up, has room again, and then becomes read-only, while clients work with it.

The disk is an ext4 file system in a file; that the kernel makes it read-only, as after an error of the device, can be
requested. Then the server is killed, the file system repaired and mounted again, and another server started.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from crash.checker import Checker, Findings
from crash.clients import RepeatingClient, Tally
from crash.ledger import Ledger
from crash.lives import Lives
from crash.run import Plan, await_orphans, end_clients_and_check, prepare, reference, start_clients, webhook_receiver

_DISK_MB = 160  # with room for half a minute of clients, and soon full
_PHASE_S = 12.0
_REPAIRED = (0, 1)  # exit codes of e2fsck: without errors, or without any that are left


class NoDiskError(Exception):
    """This process may not mount file systems."""


@dataclass
class Disk:
    """The file system of `image`, at `folder` while it is mounted."""

    image: Path
    folder: Path

    @classmethod
    @contextmanager
    def mounted(cls, scratch: Path, folder: Path) -> Iterator["Disk"]:
        """At the new `folder`; the image is in `scratch`. Raises NoDiskError."""
        disk = cls(scratch / "disk.img", folder)
        folder.mkdir()
        with disk.image.open("wb") as image:
            image.truncate(_DISK_MB * 1024**2)
        try:
            _run("mkfs.ext4", "-q", "-m", "0", str(disk.image))
            disk._mount()
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoDiskError(getattr(error, "stderr", None) or str(error)) from error
        try:
            yield disk
        finally:
            _run("umount", "--lazy", str(folder))

    def fill(self) -> Path:
        """A file that takes all the room."""
        ballast = self.folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(4096))
        return ballast

    def make_read_only(self) -> None:
        """Even for files that are open for writing."""
        _run("mount", "-o", "remount,abort", str(self.folder))

    def repair(self) -> None:
        """Nobody may have a file of it open."""
        _run("umount", str(self.folder))
        code = subprocess.run(["e2fsck", "-p", str(self.image)], check=False, capture_output=True).returncode
        assert code in _REPAIRED, f"e2fsck ended with {code}"
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.folder))


def run(folder: Path, base: Path) -> tuple[Findings, Tally]:
    """On SQLite. `folder` is empty and on a good disk. Raises NoDiskError."""
    ledger, lives = Ledger(folder / "ledger.jsonl"), Lives(folder, base)
    tally, stop = Tally(expected="insufficient_storage"), threading.Event()
    client = RepeatingClient(lives.url, tally)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Disk.mounted(Path(scratch), folder / "data") as disk,
        lives.zygote(),
        webhook_receiver(ledger) as hook,
    ):
        lives.start(fresh=False)
        lives.await_ready()
        data = prepare(client, hook, epochs=4)
        checker = Checker(client, ledger, reference(data, client))
        threads = start_clients(Plan(seed=1, kills=0, fresh=0), lives.url, tally, ledger, data, stop)
        time.sleep(_PHASE_S)
        ballast = disk.fill()
        time.sleep(_PHASE_S)
        ballast.unlink()
        time.sleep(_PHASE_S)
        disk.make_read_only()
        time.sleep(_PHASE_S)
        lives.kill_server()
        await_orphans(lives)
        disk.repair()
        lives.start(fresh=True)
        lives.await_ready()
        findings = end_clients_and_check(stop, threads, checker, lives)
    return findings, tally


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
