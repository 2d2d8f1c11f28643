"""Python graders: each run is a subprocess with its own interpreter, empty environment and temporary folder.

Two isolation levels. `sandbox`: the kernel denies the source access to files, network and other processes
(`sandbox_child.py`); where the kernel cannot, the grader is refused. `limits`: CPU time and memory are bounded and
nothing else; for operators who trust everyone who writes graders.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from luthier.evaluation.graders.failures import GraderFailure
from luthier.types.errors import LuthierError

Isolation = Literal["sandbox", "limits"]
TIME_S = 120.0  # as OpenAI's; processor time and time on the wall
MEMORY_BYTES = 2 * 1024**3  # as OpenAI's
_ANSWER_BYTES = 64 * 1024
_AT_ONCE = threading.BoundedSemaphore(max(1, (os.cpu_count() or 2) // 2))


class SandboxUnavailableError(LuthierError):
    """Python graders cannot be run here; the message says why and what an operator can do."""


def run_source(
    source: str,
    sample: dict[str, Any],
    item: dict[str, Any],
    isolation: Isolation,
    *,
    time_s: float = TIME_S,
    memory_bytes: int = MEMORY_BYTES,
) -> float:
    """What `grade(sample, item)` returned. Raises GraderFailure, SandboxUnavailableError."""
    if isolation == "limits" and os.geteuid() == 0:
        raise SandboxUnavailableError("Python graders with limits alone are not run as root, whom limits do not bind.")
    asked = {"isolate": isolation == "sandbox", "cpu_s": math.ceil(time_s) + 1, "memory_bytes": memory_bytes}
    with _AT_ONCE:
        answer = _run(json.dumps({**asked, "source": source, "sample": sample, "item": item}).encode(), time_s)
    if isinstance(answer.get("reward"), float):
        return float(answer["reward"])
    if "unavailable" in answer:
        raise SandboxUnavailableError(
            f"This system cannot lock Python graders in: {answer['unavailable']}. Its operator may allow weaker "
            "isolation with LUTHIER_PYTHON_GRADERS=limits, if everybody who sends graders is trusted."
        )
    raise _failure(str(answer.get("error")))


def _failure(details: str, *, late: bool = False) -> GraderFailure:
    return GraderFailure(
        details,
        python_grader_runtime_error=True,
        python_grader_runtime_error_details=details,
        unresponsive_reward_error=late,
    )


def _run(asked: bytes, time_s: float) -> dict[str, Any]:
    """What the child wrote, which may be anything. Raises GraderFailure when it wrote nothing in time."""
    program = str(Path(__file__).with_name("sandbox_child.py"))
    late, started = threading.Event(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="luthier-grader-") as folder:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=folder,
            start_new_session=True,
        )
        timer = threading.Timer(time_s, _end, (child, late))
        timer.daemon = True
        timer.start()
        try:
            written = _talk(child, asked)
            with suppress(subprocess.TimeoutExpired):
                child.wait(1)  # it has closed its answer and is about to end
        finally:
            timer.cancel()
            _end(child)
            code = child.wait()
    # The kernel ends what uses up its processor time, in case the timer does not.
    if late.is_set() or (code == -signal.SIGKILL and not written and time.monotonic() - started >= time_s):
        raise _failure(f"The grader took longer than {time_s:g} seconds.", late=True)
    try:
        answer = json.loads(written)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _failure(f"The grader ended without an answer (exit code {code}).")
    return answer


def _talk(child: subprocess.Popen[bytes], asked: bytes) -> bytes:
    """At most so much of the answer is read as an honest child writes."""
    if child.stdin is None or child.stdout is None:
        raise AssertionError("the child was started with pipes")
    with child.stdout:
        with suppress(BrokenPipeError), child.stdin:  # it may end before it has read everything; its end says why
            child.stdin.write(asked)
        return child.stdout.read(_ANSWER_BYTES)


def _end(child: subprocess.Popen[bytes], late: threading.Event | None = None) -> None:
    """Kills the child and its group. Until `wait` its number cannot be another's."""
    if late is not None:
        late.set()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
