"""Python graders: what a hostile one tries does not work, on a system that can keep it in."""

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from luthier.evaluation.graders import GraderFailure, SandboxUnavailableError
from luthier.evaluation.graders.sandbox import run_source

pytestmark = pytest.mark.services

SAMPLE, ITEM = {"output_text": "4"}, {"answer": 4}


@pytest.fixture(scope="module", autouse=True)
def _a_system_that_can() -> None:
    try:
        run_source("def grade(sample, item): return 1", {}, {}, "sandbox")
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


def run(body: str, **limits: Any) -> float:
    """The reward of a `grade` with this body."""
    source = "import os, sys\ndef grade(sample, item):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return run_source(source, SAMPLE, ITEM, "sandbox", **limits)


def failure(body: str, **limits: Any) -> str:
    """`PID` in the body stands for this process, so that test ids are the same in every worker of a parallel run."""
    with pytest.raises(GraderFailure) as caught:
        run(body.replace("PID", str(os.getpid())), **limits)
    flags = caught.value.flags
    assert flags["python_grader_runtime_error"]
    details: str = flags["python_grader_runtime_error_details"]
    assert details == str(caught.value)
    return details


def test_an_honest_grader() -> None:
    assert run("return 0.25 if int(sample['output_text']) == item['answer'] else 0") == 0.25
    assert run("return True") == 1.0
    assert run("print('noise'); sys.stderr.write('noise'); return 1") == 1.0
    imports = "json, re, math, difflib, collections, datetime, decimal, statistics, random, hashlib, unicodedata, ast"
    assert run(f"import {imports}\nreturn round(difflib.SequenceMatcher(None, 'ab', 'ab').ratio())") == 1.0


@pytest.mark.parametrize(
    "body",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)",
        "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "import urllib.request\nurllib.request.urlopen('http://example.com')",
        "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\nassert c.socket(2, 1, 0) >= 0, ctypes.get_errno()",
        "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\nassert c.syscall(425, 1, 0) >= 0, ctypes.get_errno()",
    ],
    ids=["tcp", "unix", "http", "libc", "io_uring"],
)
def test_no_network(body: str) -> None:
    message = failure(body + "\nreturn 1")
    assert "not permitted" in message or "AssertionError: 1" in message or "name resolution" in message, message


@pytest.mark.parametrize(
    "attempt",
    [
        "open(SECRET).read()",
        "open(SECRET, 'w')",
        "open(SECRET, 'a')",
        "os.truncate(SECRET, 0)",
        "os.unlink(SECRET)",
        "os.rename(SECRET, SECRET + '2')",
        "os.chmod(SECRET, 0)",
        "os.utime(SECRET)",
        "os.listdir(FOLDER)",
        "os.mkdir(FOLDER + '/new')",
        "os.symlink(SECRET, FOLDER + '/link')",
        "open('new', 'w').write('x')",
        "open('/proc/self/environ').read()",
        "open('/proc/PID/environ').read()",
        "open('/dev/shm/x', 'w')",
        "open('/etc/passwd').read()",
    ],
)
def test_no_files(tmp_path: Path, attempt: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    before = secret.stat()
    message = failure(f"SECRET, FOLDER = {str(secret)!r}, {str(tmp_path)!r}\n{attempt}\nreturn 1")
    assert "PermissionError" in message, message
    assert secret.read_text() == "secret"
    assert (secret.stat().st_mode, secret.stat().st_mtime) == (before.st_mode, before.st_mtime)
    assert list(tmp_path.iterdir()) == [secret]


@pytest.mark.parametrize(
    "attempt",
    [
        "for _ in range(4): os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import threading; threading.Thread(target=print).start()",
        "os.kill(PID, 0)",
        "os.setsid()",
        "import resource; resource.prlimit(PID, resource.RLIMIT_CPU)",
    ],
)
def test_no_processes(attempt: str) -> None:
    message = failure(f"{attempt}\nreturn 1")
    assert "not permitted" in message or "can't start new thread" in message, message
    assert not [
        child for child in psutil.Process().children(recursive=True) if "sandbox_child.py" in " ".join(child.cmdline())
    ]


def test_no_memory_beyond_its_own() -> None:
    assert "MemoryError" in failure("hog = [bytes(1 << 26) for _ in range(64)]\nreturn 1", memory_bytes=1 << 29)


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(60)"])
def test_no_time_beyond_its_own(body: str) -> None:
    started = time.monotonic()
    deaf = "import signal\nfor one in (signal.SIGTERM, signal.SIGXCPU, signal.SIGALRM): signal.signal(one, print)\n"
    assert "longer than 1 seconds" in failure(deaf + body, time_s=1)
    assert time.monotonic() - started < 45  # of the 60 that it would sleep


def test_its_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_API_KEYS", "sk-secret")
    assert run("return 'LUTHIER_API_KEYS' in os.environ or any('sk-' in value for value in os.environ.values())") == 0
    assert run("return any('site-packages' in path for path in sys.path)") == 0  # the standard library alone


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 'x'", "could not convert"),
        ("return None", "TypeError"),
        ("return float('nan')", "nan"),
        ("return 1 / 0", 'File "grader.py", line 3, in grade'),
        ("raise SystemExit(0)", "SystemExit"),
        ("os._exit(0)", "without an answer"),
        ("import ctypes; ctypes.string_at(0)", "without an answer"),
        ("for number in range(3, 9):\n    try: os.write(number, b'x' * 70000)\n    except OSError: pass\nreturn 1",
         "without an answer"),
        ("for number in range(3, 9):\n    try: os.write(number, b'{\"reward\": \"x\"}')\n    except OSError: pass\n"
         "os._exit(0)", "no reward"),
    ],
)  # fmt: skip
def test_what_is_no_reward(body: str, message: str) -> None:
    assert message in failure(body)


def test_a_source_that_does_not_compile() -> None:
    for source, message in (("def grade(:", "SyntaxError"), ("x = 1", "defines no function"), ("(" * 5000, "Error")):
        with pytest.raises(GraderFailure, match=message):
            run_source(source, {}, {}, "sandbox")


def test_limits_alone_are_nothing_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SandboxUnavailableError, match="root"):
        run_source("def grade(sample, item): return 1", {}, {}, "limits")


@pytest.mark.parametrize(
    "answer", ['{"reward": 1e999}', '{"reward": NaN}', '{"reward": "\\\\ud800"}', '{"error": "\\\\ud800"}']
)
def test_what_the_child_writes_can_be_sent(answer: str) -> None:
    write = f"try: os.write(number, b'{answer}')"
    details = failure(f"for number in range(1, 9):\n    {write}\n    except OSError: pass\nos._exit(0)")
    details.encode()


def test_half_a_character_in_an_error_can_be_sent() -> None:
    failure("raise ValueError(chr(0xD800))").encode()
