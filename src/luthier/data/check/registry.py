"""The checks by name: every check, built in or from a plugin, is registered here.

- A message check is a function of one message, an example check a function of one example and its conversation. The
  modules of `check.structure` register them.
- A quality check is a subclass of `QualityCheck`. The modules of `check.quality` register them, and plugins provide
  them as entry points of the group `luthier.checks`.

To add a check, write it with its decorator and add its finding kinds to `luthier.data.findings` (a plugin's check has
them in `kinds`). Checks run in the order of registration.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, NamedTuple, TypeVar

from luthier.data.check.quality.batch import Batch
from luthier.data.findings import CATALOGUE, Finding
from luthier.data.findings.kinds import Kind

ENTRY_POINT_GROUP = "luthier.checks"
_BUILT_IN_QUALITY_CHECKS = "luthier.data.check.quality"

Conversation = list[tuple[int, dict[str, Any]]]  # each well-formed message with its index
Findings = Iterator[Finding]
MessageCheck = Callable[[dict[str, Any]], Findings]
ExampleCheckFunction = Callable[[dict[str, Any], Conversation], Findings]


class ExampleCheck(NamedTuple):
    """`in_preference_input` and `in_preference_output`: whether the check also applies to parts of preference pairs."""

    function: ExampleCheckFunction
    in_preference_input: bool
    in_preference_output: bool


class QualityCheck:
    """One check of what the examples of one file teach; an instance checks one file, once."""

    kinds: ClassVar[Mapping[str, Kind]] = {}  # finding kinds that are not in the catalogue, by code

    def compare_with(self, training: "QualityCheck") -> None:
        """Called before the first batch of a validation file, with the check of its training file."""

    def check(self, batch: Batch) -> Iterable[Finding]:
        """The findings on the examples of one batch."""
        return ()

    def finish(self) -> Iterable[Finding]:
        """The findings that need the whole file; called once, after the last batch."""
        return ()


_Check = TypeVar("_Check", bound=type[QualityCheck])

MESSAGE_CHECKS: dict[str, MessageCheck] = {}
EXAMPLE_CHECKS: dict[str, ExampleCheck] = {}
QUALITY_CHECKS: dict[str, Callable[[], QualityCheck]] = {}


def message_check(check: MessageCheck) -> MessageCheck:
    """Registers a check of single messages; the drivers add the message's index and the line."""
    MESSAGE_CHECKS[check.__name__] = check
    return check


def example_check(
    *, in_preference_input: bool = False, in_preference_output: bool = False
) -> Callable[[ExampleCheckFunction], ExampleCheckFunction]:
    """Registers a check of examples, whose findings name messages and no line."""

    def register(check: ExampleCheckFunction) -> ExampleCheckFunction:
        EXAMPLE_CHECKS[check.__name__] = ExampleCheck(check, in_preference_input, in_preference_output)
        return check

    return register


def quality_check(name: str) -> Callable[[_Check], _Check]:
    """Registers a class of quality checks under a name."""

    def register(check: _Check) -> _Check:
        register_quality_check(name, check)
        return check

    return register


def register_quality_check(name: str, check: type[QualityCheck]) -> None:
    """Registers a quality check and the finding kinds that it brings."""
    CATALOGUE.update(check.kinds)
    QUALITY_CHECKS[name] = check


@cache
def load_quality_checks() -> Mapping[str, Callable[[], QualityCheck]]:
    """The table of quality checks, once the built-in ones and the plugins are imported."""
    package = import_module(_BUILT_IN_QUALITY_CHECKS)
    for module in pkgutil.iter_modules(package.__path__, _BUILT_IN_QUALITY_CHECKS + "."):
        import_module(module.name)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        register_quality_check(entry_point.name, entry_point.load())
    return QUALITY_CHECKS
