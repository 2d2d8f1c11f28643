"""Whether a process was killed because memory ran out, which looks like a kill from outside."""

from pathlib import Path

_COUNTERS = Path("/proc/vmstat")  # those of the whole machine, also inside a container


def count_kills() -> int | None:
    """How many processes the kernel has killed for memory since it started; None where it does not say."""
    try:
        lines = _COUNTERS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
