"""Logs what failed and does not end the process: a fault of the storage in a line, anything else with its traceback."""

import logging

from luthier.store.storage_faults import storage_fault
from luthier.types.storage_faults import STORAGE_FAULTS


def log_failure(log: logging.Logger, description: str, error: Exception) -> None:
    """`description`: what failed, such as `a heartbeat of ftjob-1`; without punctuation."""
    kind = storage_fault(error)
    if kind is None:
        log.error("%s met an unexpected error", description, exc_info=error)
    else:
        log.warning("%s: %s", description, STORAGE_FAULTS[kind].reason[0])
