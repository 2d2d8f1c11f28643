"""`python -m luthier.training JOBDIR`: trains the job in a folder; events go to standard output as JSON lines.

Exit codes: 0 finished; 1 failed, with the reason in the last event; 75 stopped on request (SIGTERM, a `stop` command,
or the end of the parent) with the resume state saved, so that the same command resumes; 74 a fault of the machine, such
as a full disk, which may be transient.

A job of several processes starts the others itself, unless torchrun did.
"""

import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock

from luthier.hardware import is_transient, keep_freed_memory, limit_spinning
from luthier.training import protocol
from luthier.training.job_spec import JobSpec
from luthier.training.rank_environment import RENDEZVOUS, other_ranks, rank_of_environment
from luthier.types.errors import JobError, LuthierError
from luthier.types.storage_faults import disk_fault


class EventWriter:
    """Writes each event to `events.jsonl` in the job folder, then to standard output.

    If the reader dies, the worker that takes over replays the missed events from the file.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "events.jsonl"
        if path.exists():  # a power cut may have left an incomplete line
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")
        # Libraries print to standard output: keep the real one for events, and redirect their output to stderr.
        self._stdout: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def __call__(self, event: protocol.Event) -> None:
        line = event.to_json() + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        finally:  # the reader is also told about a full disk
            with suppress(BrokenPipeError):  # it has died; the file has the event
                self._stdout.write(line)
                self._stdout.flush()


def _obey_parent(stop: threading.Event) -> None:
    """Set `stop` on a `stop` command and at the end of standard input, which means that the parent has ended."""
    for line in sys.stdin.buffer:
        if protocol.parse_command(line):
            break
    stop.set()


def _train(folder: Path, emit: protocol.Emit, stop: threading.Event) -> int:
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    limit_spinning()
    keep_freed_memory()
    # oneDNN caches its compiled code for each shape, 0.3 MB each, and packed rows vary in length.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    emit(protocol.Started())
    try:
        from luthier.training.forward_pass import Stopped  # torch takes seconds to import
        from luthier.training.ranks import lost_ranks_named
        from luthier.training.setup import build_trainer

        try:
            with lost_ranks_named():
                build_trainer(folder, emit, stop).run()
        except Stopped:
            return protocol.STOPPED
    except JobError as error:
        emit(protocol.Failed(code=error.code, message=error.message, param=error.param))
        return 1
    except Exception as error:
        code = _report(error, emit)
        with suppress(OSError):  # the log lies on the same disk
            traceback.print_exc()
        return code
    return 0


def _report(error: Exception, emit: protocol.Emit) -> int:
    """The exit code."""
    if kind := disk_fault(error):
        with suppress(OSError):  # of the file of events
            emit(protocol.DiskFault(kind=kind, message=str(error)))
    if is_transient(error):
        return protocol.MACHINE_FAULT
    prefix = "" if isinstance(error, LuthierError) else f"{type(error).__name__}: "
    emit(protocol.Failed(code="training_error", message=f"{prefix}{error}", param=None))
    return 1


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--stop-with-parent"]
    if len(arguments) != 1 or not (Path(arguments[0]) / "job.json").is_file():
        print(f"{__doc__}\nusage: python -m luthier.training [--stop-with-parent] JOBDIR", file=sys.stderr)
        return 2
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if "--stop-with-parent" in sys.argv:
        threading.Thread(target=_obey_parent, args=(stop,), daemon=True).start()
    folder = Path(arguments[0])
    if RENDEZVOUS not in os.environ:  # otherwise the first process has done it
        os.nice(5)  # serving on the same machine has priority
    if rank_of_environment().rank > 0:
        os.dup2(2, 1)  # standard output has only the events of the first rank
        return _train(folder, lambda _event: None, stop)
    with FileLock(folder / "trainer.lock"), _processes(folder):  # an earlier trainer may still be saving its state
        return _train(folder, EventWriter(folder), stop)


def _processes(folder: Path) -> AbstractContextManager[None]:
    """The other processes of this job, if this one starts them."""
    count = JobSpec.read(folder).processes
    if count == 1 or rank_of_environment().ranks > 1:
        return nullcontext()
    return other_ranks(folder, count, protocol.MACHINE_FAULT)


def _restart_with_huge_pages() -> None:
    """Restart the interpreter with glibc using 2 MB pages if possible, since a step goes through gigabytes of
    memory."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - itself, with the same arguments


if __name__ == "__main__":
    _restart_with_huge_pages()
    code = main()
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)  # the thread that reads standard input would delay a normal exit
