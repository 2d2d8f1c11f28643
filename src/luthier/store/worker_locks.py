"""Lock files that distinguish live workers from dead ones.

Each worker of a data folder locks its own file while its process lives; the kernel releases the lock however the
process ends. A lock that can be acquired belongs to a dead worker, whose leases can be ended before they expire.

A shared folder may not propagate locks between machines, so each machine has its own subfolder, and the leases of
another machine's workers have to expire.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from luthier.types.ids import new_id

_SUFFIX = ".lock"
# The same for containers and their host, which see each other's locks
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def machine_id() -> str:
    """The boot id of this machine; its host name if the kernel has no such id."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


class WorkerLocks:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: dict[str, FileLock] = {}

    def register(self) -> str:
        """Register a new worker and return its id."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            worker_id = new_id("worker-", 12)
            lock = self._lock(worker_id)
            lock.acquire()
            if Path(lock.lock_file).exists():  # `collect_dead` may have removed it between its creation and its lock
                self._own[worker_id] = lock
                return worker_id
            lock.release()

    def unregister(self, worker_id: str) -> None:
        """Unregister a worker that has released its leases."""
        self._path(worker_id).unlink(missing_ok=True)
        self._own.pop(worker_id).release()

    def collect_dead(self) -> Iterator[str]:
        """The ids of workers whose process has ended; each is forgotten once the consumer asks for the next."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            worker_id = path.name.removesuffix(_SUFFIX)
            if worker_id in self._own:
                continue
            try:
                with self._lock(worker_id).acquire(timeout=0):
                    yield worker_id
                    path.unlink(missing_ok=True)
            except Timeout:
                continue

    def count_alive(self) -> int:
        """The number of live workers on this data folder."""
        return sum(self._is_alive(path.name.removesuffix(_SUFFIX)) for path in self._folder.glob(f"*{_SUFFIX}"))

    def _is_alive(self, worker_id: str) -> bool:
        if worker_id in self._own:
            return True
        try:
            with self._lock(worker_id).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _path(self, worker_id: str) -> Path:
        return self._folder / f"{worker_id}{_SUFFIX}"

    def _lock(self, worker_id: str) -> FileLock:
        return FileLock(self._path(worker_id), thread_local=False)
