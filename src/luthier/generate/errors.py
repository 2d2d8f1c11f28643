"""What ends a run of the generator, and what ends one request of it.

LuthierError
├── StopError                the whole run stops; what was made so far stays usable
│   ├── CostCapError         the next request could pass the money cap
│   ├── TeacherDownError     too many failures in a row
│   ├── TeacherRefusesError  a wrong key, model or request: trying again cannot help
│   ├── JournalError         what is paid for can no longer be kept
│   └── ProbedError          as many requests were made as an estimate needs
├── AskError                 one request was given up; its slot may be tried again
│   └── BadAskError          the service does not take this request as it stands
└── OptionsError             what was asked for does not fit together
"""

from luthier.types.errors import LuthierError


class StopError(LuthierError):
    """The run stops here; the journal keeps what was paid for."""


class CostCapError(StopError):
    """The next request could cost more than what is left under the cap."""


class TeacherDownError(StopError):
    """So many requests failed one after the other that more would be wasted."""


class TeacherRefusesError(StopError):
    """The service will never answer this run as it stands: key, model or quota."""


class JournalError(StopError):
    """The disk is full, or the journal is damaged."""


class ProbedError(StopError):
    """Not a failure: a dry run has asked what it wanted to ask."""


class AskError(LuthierError):
    """One request failed for good."""


class BadAskError(AskError):
    """Status 400 or 422: the same request would fail again, another may not."""


class OptionsError(LuthierError):
    """Options, files or definitions that generation cannot begin with."""
