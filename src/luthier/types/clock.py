"""The clock for expiry: the system clock, without jumps that do not last.

A system clock that is set two days ahead, and back a minute later, must not end uploads, batches and leases for good.
So this clock advances with elapsed time, and follows a jump of the system clock only once it has lasted an hour. Time
during which the machine is suspended counts as elapsed. A new process starts with the current system time.
"""

import threading
import time
from collections.abc import Callable

_TOLERANCE_S = 60.0  # small corrections, as by time servers, are followed at once
SETTLED_S = 3600.0
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # also advances while the machine is suspended


class Clock:
    """Thread-safe. `system` is in Unix seconds; `elapsed` never jumps."""

    def __init__(
        self,
        system: Callable[[], float] = lambda: time.time(),
        elapsed: Callable[[], float] = lambda: time.clock_gettime(_ELAPSED),
    ) -> None:
        self._system, self._elapsed = system, elapsed
        self._lock = threading.Lock()
        self._offset_s = system() - elapsed()
        self._jumped_at: float | None = None  # of the elapsed time

    def time(self) -> float:
        """Unix seconds."""
        with self._lock:
            elapsed = self._elapsed()
            offset_s = self._system() - elapsed
            if abs(offset_s - self._offset_s) <= _TOLERANCE_S:
                self._offset_s, self._jumped_at = offset_s, None
            elif self._jumped_at is None:
                self._jumped_at = elapsed
            elif elapsed - self._jumped_at >= SETTLED_S:
                self._offset_s, self._jumped_at = offset_s, None
            return elapsed + self._offset_s


CLOCK = Clock()
