"""Errors that end a run of the generator, and errors that end one request of it.

LuthierError
├── RunStoppedError             the whole run stops; the examples so far remain valid
│   ├── CostCapError            the next request could exceed the cost cap
│   ├── TeacherUnavailableError too many consecutive failures
│   ├── TeacherRejectedError    permanent: a wrong key, model or request
│   ├── UnusableListsError      the teacher's lists hold nothing that can be used
│   ├── JournalError            paid replies can no longer be recorded
│   └── ProbeCompleteError      an estimate has made all its requests
├── RequestFailedError          one request was given up; its slot may be retried
│   └── RequestRejectedError    the service rejects this request as it is
└── OptionsError                options or input files are inconsistent
"""

from luthier.types.errors import LuthierError


class RunStoppedError(LuthierError):
    """The run stops; the journal keeps the paid replies."""


class CostCapError(RunStoppedError):
    """The next request could cost more than what is left under the cap."""


class TeacherUnavailableError(RunStoppedError):
    """Too many consecutive requests failed."""


class TeacherRejectedError(RunStoppedError):
    """The service permanently rejects this run: key, model or quota."""


class UnusableListsError(RunStoppedError):
    """The model returned several unusable lists in a row, even when they were requested again."""


class JournalError(RunStoppedError):
    """The disk is full, or the journal is damaged."""


class ProbeCompleteError(RunStoppedError):
    """Not a failure: a dry run has made all the requests that it needs."""


class RequestFailedError(LuthierError):
    """One request was given up."""


class RequestRejectedError(RequestFailedError):
    """Status 400 or 422: the same request would fail again, another may not."""


class OptionsError(LuthierError):
    """Options, files or definitions with which generation cannot start."""
