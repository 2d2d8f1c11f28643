"""Errors that end a run of the generator, and errors that end one request of it.

LuthierError
├── RunStoppedError             the whole run stops; the examples so far remain valid
│   ├── CostCapError            the next request could exceed the cost cap
│   ├── TeacherUnavailableError too many consecutive failures
│   ├── TeacherRejectedError    permanent: the key, the model or the quota is refused
│   ├── UnusableListsError      the teacher's lists contain no usable text
│   ├── JournalError            paid replies can no longer be recorded
│   └── ProbeCompleteError      a probe has sent all its requests
├── RequestFailedError          one request was given up; its slot may be retried
│   └── RequestRejectedError    the service rejects the content of this request
└── OptionsError                options or input files are inconsistent
"""

from luthier.types.errors import LuthierError


class RunStoppedError(LuthierError):
    """The run stops. Paid replies remain in the journal."""


class CostCapError(RunStoppedError):
    """The next request could cost more than the cap leaves."""


class TeacherUnavailableError(RunStoppedError):
    """Too many consecutive requests failed."""


class TeacherRejectedError(RunStoppedError):
    """The service permanently refuses the key or the model, or the quota is exhausted."""


class UnusableListsError(RunStoppedError):
    """The model returned several unusable lists in a row, each even after a second request."""


class JournalError(RunStoppedError):
    """The journal cannot be read or written, such as on a full disk."""


class ProbeCompleteError(RunStoppedError):
    """Not a failure: a probe has sent all the requests that its estimate needs."""


class RequestFailedError(LuthierError):
    """One request was given up."""


class RequestRejectedError(RequestFailedError):
    """Status 400 or 422: this request would fail again, while others may succeed."""


class OptionsError(LuthierError):
    """Generation cannot start with these options, files or definitions."""
