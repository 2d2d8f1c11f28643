"""The program that a Python grader runs in: drops its rights, then runs the source. Standard library only.

Only `sandbox.py` starts it, as `python -I -S sandbox_child.py`. Once locked down, the process can compute, read the
standard library and write its result. It cannot open any other file (Landlock), and every system call outside the
list below fails (seccomp): no sockets, no new processes or threads, no signals to other processes.

stdin: JSON {isolate, cpu_s, memory_bytes, source, sample, item}; stdout: JSON {reward} or {error} or {unavailable}.
"""

import ctypes
import json
import math
import os
import platform
import resource
import struct
import sys
import traceback
from pathlib import Path

# System call numbers on x86-64 and on aarch64 (the generic table); None: does not exist there.
_ALLOWED_SYSTEM_CALLS = {
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "stat": (4, None), "fstat": (5, 80),
    "lstat": (6, None), "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "pread64": (17, 67), "access": (21, None), "select": (23, None),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "nanosleep": (35, 101),
    "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160), "getcwd": (79, 17), "readlink": (89, None),
    "gettimeofday": (96, 169), "getrusage": (98, 165), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "sigaltstack": (131, 132),
    "gettid": (186, 178), "time": (201, None), "futex": (202, 98), "getdents64": (217, 61),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "openat": (257, 56), "newfstatat": (262, 79),
    "readlinkat": (267, 78), "faccessat": (269, 48), "getrandom": (318, 278), "statx": (332, 291),
    "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH constant
_READABLE_PATHS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/dev/urandom",
)
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_NO_NEW_PRIVS, _DIE_WITH_PARENT, _SECCOMP = 38, 1, 22
_ERROR_CHARACTERS = 2000


class _UnavailableError(Exception):
    """This system cannot isolate the process."""


def main() -> None:
    request = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    try:
        _limit(request["cpu_s"], request["memory_bytes"])
        if request["isolate"]:
            _isolate()
        result = _grade(request)
    except _UnavailableError as error:
        result = {"unavailable": str(error)}
    json.dump(result, out)
    out.close()
    os._exit(0)


def _limit(cpu_s: int, memory_bytes: int) -> None:
    """Limits CPU time and memory; forbids writes to files, core dumps, other processes and threads, many open files."""
    limits = {"CPU": cpu_s, "AS": memory_bytes, "FSIZE": 0, "CORE": 0, "NOFILE": 64, "NPROC": 1}
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        except (ValueError, OSError) as error:
            raise _UnavailableError(f"the limit {name} cannot be set: {error}") from None
    os.nice(5)


def _isolate() -> None:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        raise _UnavailableError(f"it needs Linux on x86-64 or aarch64, this is {sys.platform} on {machine}")
    kernel = ctypes.CDLL(None, use_errno=True)
    kernel.syscall.restype = ctypes.c_long
    for option, value in ((_DIE_WITH_PARENT, 9), (_NO_NEW_PRIVS, 1)):
        if kernel.prctl(option, value, 0, 0, 0):
            raise _UnavailableError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
    _restrict_files(kernel)
    _restrict_system_calls(kernel, *_ARCHITECTURES[machine])


def _restrict_files(kernel: ctypes.CDLL) -> None:
    """From here on, only the interpreter's files can be opened, and only for reading (Landlock)."""

    def call(number: int, *arguments: object) -> int:
        result: int = kernel.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise _UnavailableError(f"Landlock is not available: {os.strerror(ctypes.get_errno())}")
        return result

    version = call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 3:
        raise _UnavailableError(f"Landlock of version 3 is needed (Linux 6.2), this kernel has {version}")
    every_right = (1 << (16 if version >= 5 else 15)) - 1
    rules = call(_LANDLOCK_CREATE, struct.pack("Q", every_right), ctypes.c_size_t(8), ctypes.c_uint(0))
    for path in map(Path, {*_READABLE_PATHS, *sys.path, str(Path(os.__file__).parent)}):
        if not path.exists():
            continue
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = _READ_FILE | (_READ_DIR if path.is_dir() else 0)
        call(_LANDLOCK_ADD, ctypes.c_int(rules), ctypes.c_int(1), struct.pack("=Qi", rights, place), ctypes.c_uint(0))
        os.close(place)
    call(_LANDLOCK_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
    os.close(rules)


def _restrict_system_calls(kernel: ctypes.CDLL, column: int, architecture: int) -> None:
    """From here on, only the listed system calls work; all others fail with EPERM (seccomp)."""
    load, jump_if_equal, return_code = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1
    numbers = sorted(number for both in _ALLOWED_SYSTEM_CALLS.values() if (number := both[column]) is not None)
    program = [(load, 0, 0, 4), (jump_if_equal, 1, 0, architecture), (return_code, 0, 0, refuse), (load, 0, 0, 0)]
    program += [(jump_if_equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    program += [(return_code, 0, 0, refuse), (return_code, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))

    filter_program = Filter(len(program), ctypes.addressof(code))
    if kernel.prctl(_SECCOMP, 2, ctypes.byref(filter_program), 0, 0):
        raise _UnavailableError(f"seccomp is not available: {os.strerror(ctypes.get_errno())}")


def _grade(request: dict[str, object]) -> dict[str, object]:
    """Runs the source and returns its reward or its error, whatever it raises."""
    names: dict[str, object] = {"__name__": "grader", "__file__": "grader.py"}
    try:
        exec(compile(str(request["source"]), "grader.py", "exec"), names)  # noqa: S102 - it is what this program is for
        grade = names.get("grade")
        if not callable(grade):
            return {"error": "the source defines no function grade(sample, item)"}
        reward = float(grade(request["sample"], request["item"]))
        if not math.isfinite(reward):
            return {"error": f"grade returned {reward}; a reward must be a finite number"}
        return {"reward": reward}
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: a grader cannot end this program
        frames = error.__traceback__.tb_next if error.__traceback__ else None  # those of the source, not this one
        return {"error": "".join(traceback.format_exception(None, error, frames))[-_ERROR_CHARACTERS:]}


if __name__ == "__main__":
    main()
