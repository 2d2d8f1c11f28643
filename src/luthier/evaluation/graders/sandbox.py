"""Python graders: each run is a subprocess with its own interpreter, an empty environment and a temporary folder.

There are two isolation levels. `sandbox`: the kernel denies the source access to files, the network and other processes
(`sandbox_child.py`); if the kernel cannot do that, the grader is refused. `limits`: only CPU time and memory are
bounded; for operators who trust everyone who writes graders.
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
TIME_S = 120.0  # OpenAI's limit, applied to CPU time and to wall time
MEMORY_BYTES = 2 * 1024**3  # OpenAI's limit
_MAX_OUTPUT_BYTES = 64 * 1024
_MAX_ERROR_CHARACTERS = 4_000
_CONCURRENCY = threading.BoundedSemaphore(max(1, (os.cpu_count() or 2) // 2))


class SandboxUnavailableError(LuthierError):
    """Python graders cannot be run here; the message says why and what an operator can do."""


def run_source(
    source: str,
    sample: dict[str, Any],
    data_item: dict[str, Any],
    isolation: Isolation,
    *,
    time_s: float = TIME_S,
    memory_bytes: int = MEMORY_BYTES,
) -> float:
    """The reward that `grade(sample, item)` returns. Raises GraderFailure, SandboxUnavailableError."""
    if isolation == "limits" and os.geteuid() == 0:
        raise SandboxUnavailableError(
            "Python graders with isolation 'limits' do not run as root, because the limits do not apply to root."
        )
    request = {"isolate": isolation == "sandbox", "cpu_s": math.ceil(time_s) + 1, "memory_bytes": memory_bytes}
    with _CONCURRENCY:
        answer = _run(json.dumps({**request, "source": source, "sample": sample, "item": data_item}).encode(), time_s)
    reward = answer.get("reward")
    if isinstance(reward, float) and math.isfinite(reward):
        return reward
    if "unavailable" in answer:
        raise SandboxUnavailableError(
            f"This system cannot isolate Python graders: {_sendable(answer['unavailable'])}. Its operator can allow "
            "weaker isolation with LUTHIER_PYTHON_GRADERS=limits, if everybody who sends graders is trusted."
        )
    raise _runtime_failure(_sendable(answer.get("error", "The grader returned no reward.")))


def _sendable(value: object) -> str:
    """A value from the child as text that UTF-8 can encode, because the child may write lone surrogates."""
    return str(value)[:_MAX_ERROR_CHARACTERS].encode(errors="replace").decode()


def _runtime_failure(details: str, *, timed_out: bool = False) -> GraderFailure:
    return GraderFailure(
        details,
        python_grader_runtime_error=True,
        python_grader_runtime_error_details=details,
        unresponsive_reward_error=timed_out,
    )


def _run(request: bytes, time_s: float) -> dict[str, Any]:
    """The child's output, which is untrusted. Raises GraderFailure if there is none in time."""
    program = str(Path(__file__).with_name("sandbox_child.py"))
    timed_out, started = threading.Event(), time.monotonic()
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
        timer = threading.Timer(time_s, _kill, (child, timed_out))
        timer.daemon = True
        timer.start()
        try:
            output = _communicate(child, request)
            with suppress(subprocess.TimeoutExpired):
                child.wait(1)  # it has closed its output and is exiting
        finally:
            timer.cancel()
            _kill(child)
            code = child.wait()
    # If the timer does not fire, the kernel kills a process that exceeds its CPU time.
    if timed_out.is_set() or (code == -signal.SIGKILL and not output and time.monotonic() - started >= time_s):
        raise _runtime_failure(f"The grader took longer than {time_s:g} seconds.", timed_out=True)
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _runtime_failure(f"The grader ended without an answer (exit code {code}).")
    return answer


def _communicate(child: subprocess.Popen[bytes], request: bytes) -> bytes:
    """Sends the request and returns the output, limited to the size that a well-behaved child writes."""
    if child.stdin is None or child.stdout is None:
        raise AssertionError("the child was started with pipes")
    with child.stdout:
        with suppress(BrokenPipeError), child.stdin:  # it may exit before it has read everything; the exit code tells
            child.stdin.write(request)
        return child.stdout.read(_MAX_OUTPUT_BYTES)


def _kill(child: subprocess.Popen[bytes], timed_out: threading.Event | None = None) -> None:
    """Kills the child and its process group. Its process id cannot be reused before `wait`."""
    if timed_out is not None:
        timed_out.set()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
