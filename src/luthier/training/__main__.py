"""`python -m luthier.training JOBDIR`: trains the job in a folder and says how it goes, a JSON object a line.

Exit codes: 0 finished; 1 failed, and the last line says why; 75 stopped on request (SIGTERM, or the parent
went), with everything saved: the same command goes on from there; 74 the machine failed, and it may do so again
or not.
"""

import json
import logging
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from luthier.hardware import may_pass
from luthier.types.errors import JobError, LuthierError

STOPPED = 75  # EX_TEMPFAIL
MACHINE_FAULT = 74  # EX_IOERR


class Events:
    """Each event goes to `events.jsonl` in the job folder, then to whoever started us.

    The file outlives a reader that died; a worker that takes over reads there what was missed.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "events.jsonl"
        if path.exists():  # a run that lost its power may have left half a line
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")
        # Libraries print where they like: keep the real standard output to ourselves, send theirs to stderr.
        self._out: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def __call__(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False) + "\n"
        for out in (self._file, self._out):
            try:
                out.write(line)
                out.flush()
            except BrokenPipeError:
                continue  # the reader has gone; the file has it


def _stop_with_parent(stop: threading.Event) -> None:
    sys.stdin.buffer.read()  # ends when the other end of the pipe is gone, however it went
    stop.set()


def _train(folder: Path, emit: Events, stop: threading.Event) -> int:
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # oneDNN keeps what it compiles for each new shape, 0.3 MB a piece, and rows are always of new length.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    try:
        from luthier.training import token_budget
        from luthier.training.trainer import Stopped, Trainer  # torch takes seconds to import

        token_budget.keep_what_is_freed()
        try:
            Trainer(folder, emit, stop).run()
        except Stopped:
            return STOPPED
    except JobError as error:
        emit({"type": "failed", "code": error.code, "message": error.message, "param": error.param})
        return 1
    except Exception as error:
        traceback.print_exc()
        if may_pass(error):
            return MACHINE_FAULT
        kind = "" if isinstance(error, LuthierError) else f"{type(error).__name__}: "
        emit({"type": "failed", "code": "training_error", "message": f"{kind}{error}", "param": None})
        return 1
    return 0


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--stop-with-parent"]
    if len(arguments) != 1 or not (Path(arguments[0]) / "job.json").is_file():
        print(f"{__doc__}\nusage: python -m luthier.training [--stop-with-parent] JOBDIR", file=sys.stderr)
        return 2
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    os.nice(5)  # answers being given on the same machine come first
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if "--stop-with-parent" in sys.argv:
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    folder = Path(arguments[0])
    with FileLock(folder / "trainer.lock"):  # a trainer whose parent died may still be saving its state
        return _train(folder, Events(folder), stop)


def _with_huge_pages() -> None:
    """Starts anew with glibc taking memory in pages of 2 MB where it can: a step goes through gigabytes of it."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - itself, with the same arguments


if __name__ == "__main__":
    _with_huge_pages()
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread waiting for standard input would hold up an ordinary exit
