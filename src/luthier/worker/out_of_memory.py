"""Whether a process was killed because memory ran out, which looks like a kill from outside."""

from pathlib import Path

_COUNTERS = Path("/proc/vmstat")  # of the whole machine, even inside a container


def count_kills() -> int | None:
    """The number of processes that the kernel has killed for memory since boot; None if it does not report it."""
    try:
        lines = _COUNTERS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
