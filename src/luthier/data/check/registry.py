"""The checks by name.

- A message check is a function of one message; an example check is a function of one example and its conversation. The
  modules of `check.structure` register them with the decorators below.
- A quality check is a subclass of `QualityCheck`, declared in the group `luthier.checks` of `plugins.ini` or as an
  entry point of another distribution.

Checks run in the order of registration or declaration. The finding kinds of a check are in `luthier.data.findings` or,
for quality checks, in the class itself (`kinds`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from luthier.data.check.quality.batch import Batch
from luthier.data.findings import Finding
from luthier.data.findings.kinds import Kind
from luthier.plugins import load

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
    """One check of the content of the examples of a file; an instance checks one file, once."""

    kinds: ClassVar[Mapping[str, Kind]] = {}  # finding kinds by code, beside those of the catalogue

    def compare_with(self, training: "QualityCheck") -> None:
        """Called before the first batch of a validation file, with the instance that checked its training file."""

    def check(self, batch: Batch) -> Iterable[Finding]:
        """The findings on the examples of one batch."""
        return ()

    def finish(self) -> Iterable[Finding]:
        """The findings that need the whole file; called once, after the last batch."""
        return ()


MESSAGE_CHECKS: dict[str, MessageCheck] = {}
EXAMPLE_CHECKS: dict[str, ExampleCheck] = {}


def message_check(check: MessageCheck) -> MessageCheck:
    """Registers a check of single messages; the drivers add the message's index and the line."""
    MESSAGE_CHECKS[check.__name__] = check
    return check


def example_check(
    *, in_preference_input: bool = False, in_preference_output: bool = False
) -> Callable[[ExampleCheckFunction], ExampleCheckFunction]:
    """Registers a check of examples. Its findings have a message index and no line."""

    def register(check: ExampleCheckFunction) -> ExampleCheckFunction:
        EXAMPLE_CHECKS[check.__name__] = ExampleCheck(check, in_preference_input, in_preference_output)
        return check

    return register


def quality_checks() -> Mapping[str, Callable[[], QualityCheck]]:
    """The factories of quality checks by name. Raises PluginError."""
    return load("luthier.checks")
