"""Figures of this machine's CPU that decide how it computes: measured once, kept in the cache folder.

A decision must not change from run to run, since results differ in their last digits with it.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from luthier.hardware import cpu_description, cpu_tier

_FOLDER = "measured"
_log = logging.getLogger(__name__)


def cached_measurement(cache: Path, name: str, measure: Callable[[], float]) -> float:
    """What `measure` returned when it was first called on a CPU like this one, held to the same tier.

    In `cache`/measured, as JSON with date and CPU; of several processes that measure at once, the first one's counts.
    """
    path = _file(cache, name)
    cached = _read_value(path)
    if cached is not None:
        return cached
    is_damaged = path.exists()
    value, measured_at = measure(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    document = {"value": value, "measured_at": measured_at, "cpu": [cpu_tier(), *cpu_description()]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_damaged:
            path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            complete = Path(scratch) / path.name
            complete.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            with suppress(FileExistsError):
                os.link(complete, path)
    except OSError as error:
        _log.warning("%s cannot be kept: %s", path, error)
        return value
    cached = _read_value(path)
    return value if cached is None else cached


def read_measurement(cache: Path, name: str) -> float | None:
    """As `cached_measurement`, but None where nothing has been measured yet."""
    return _read_value(_file(cache, name))


def _file(cache: Path, name: str) -> Path:
    """Of a CPU like this one, held to the same tier."""
    fingerprint = hashlib.sha256(repr((cpu_tier(), cpu_description())).encode()).hexdigest()[:12]
    return cache / _FOLDER / f"{name}-{fingerprint}.json"


def _read_value(path: Path) -> float | None:
    """None for a file that is not there or damaged."""
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["value"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
