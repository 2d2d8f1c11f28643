"""Classifies errors as transient faults of disk, database or bucket, as named in `luthier.types.storage_faults`."""

from sqlalchemy.exc import OperationalError

from luthier.store.bucket import UNAVAILABLE
from luthier.store.outages import is_outage
from luthier.types.errors import UnavailableError
from luthier.types.storage_faults import FaultKind, StorageFaultError, disk_fault


def storage_fault(error: BaseException) -> FaultKind | None:
    """The kind of fault; None for an error that a retry cannot fix, or that has another cause."""
    match error:
        case StorageFaultError():
            return error.kind
        case OSError():
            return disk_fault(error)
        case UnavailableError():
            return "unreachable" if error.code == UNAVAILABLE else None
        case OperationalError() if fault := _database_fault(error):
            return fault
        case _ if is_outage(error):
            return "unreachable"
    return None


def _database_fault(error: OperationalError) -> FaultKind | None:
    text = str(error.orig)
    if "disk is full" in text or "No space left on device" in text:
        return "full"
    if "readonly database" in text:
        return "read_only"
    if "disk I/O error" in text or "Input/output error" in text:
        return "failing"
    if "locked" in text or "lock timeout" in text:
        return "locked"
    return None
