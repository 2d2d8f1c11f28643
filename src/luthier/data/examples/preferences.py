"""Preference examples: one input with a better and a worse answer, read as two conversations.

Expects a file that `check` has passed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.examples.example import Example, to_conversation
from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import parse_line, read_lines

PREFERRED = ("preferred_output", "preferred_completion")
NON_PREFERRED = ("non_preferred_output", "non_preferred_completion")


@dataclass(frozen=True, slots=True)
class Preference:
    """Two conversations with the same input. Only the answers are trained: assistant messages of the input have
    weight 0.
    """

    preferred: Example
    non_preferred: Example


class PreferenceTurns(NamedTuple):
    """The messages of a line, unchanged except that an answer given as a single message becomes a list."""

    prompt: list[dict[str, Any]]
    preferred: Any
    non_preferred: Any


def read_preferences(path: Path) -> Iterator[Preference]:
    """The examples of a checked file, in order. Raises `FindingError`, a `LuthierError`, with the line."""
    for line in read_lines(path):
        yield to_preference(parse_line(line), line.number)


def to_preference(value: Any, line: int) -> Preference:
    """A parsed line as a preference. Raises `FindingError`."""
    prompt = value.get("input") if isinstance(value, dict) else None
    if not isinstance(prompt, dict) or not isinstance(prompt.get("messages"), list):
        raise FindingError(make_finding("missing_messages_list").at(line))
    turns = turns_of(value)
    if not isinstance(turns.preferred, list) or not isinstance(turns.non_preferred, list):
        raise FindingError(make_finding("missing_messages_list").at(line))
    return Preference(
        to_conversation(prompt, [*turns.prompt, *turns.preferred], line),
        to_conversation(prompt, [*turns.prompt, *turns.non_preferred], line),
    )


def turns_of(value: dict[str, Any]) -> PreferenceTurns:
    """The messages of a preference example, whose `input` has a list of them."""

    def answer(names: tuple[str, str]) -> Any:
        answer = next((value[name] for name in names if value.get(name)), None)
        return [answer] if isinstance(answer, dict) else answer

    prompt = [{**turn, "weight": 0} if turn.get("role") == "assistant" else turn for turn in value["input"]["messages"]]
    return PreferenceTurns(prompt, answer(PREFERRED), answer(NON_PREFERRED))
