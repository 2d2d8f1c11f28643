"""Preference examples: one input with a better and a worse answer, each pair as two conversations.

Expects a file that `check` has passed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.examples.example import Example, to_conversation
from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import parse_line, read_lines

_PREFERRED = ("preferred_output", "preferred_completion")
_NON_PREFERRED = ("non_preferred_output", "non_preferred_completion")


@dataclass(frozen=True, slots=True)
class Preference:
    """The same input twice. Only the answers are trained: assistant messages of the input have weight 0."""

    preferred: Example
    non_preferred: Example


def read_preferences(path: Path) -> Iterator[Preference]:
    """The examples of a checked file, in order. Raises `FindingError`, a `LuthierError`, with the line."""
    for line in read_lines(path):
        yield to_preference(parse_line(line), line.number)


def to_preference(value: Any, line: int) -> Preference:
    """A parsed line as a preference. Raises `FindingError`."""
    prompt = value.get("input") if isinstance(value, dict) else None
    if not isinstance(prompt, dict) or not isinstance(prompt.get("messages"), list):
        raise FindingError(make_finding("missing_messages_list").at(line))
    messages = [{**turn, "weight": 0} if turn.get("role") == "assistant" else turn for turn in prompt["messages"]]

    def conversation(names: tuple[str, str]) -> Example:
        answer = next((value[name] for name in names if value.get(name)), None)
        turns = [answer] if isinstance(answer, dict) else answer
        if not isinstance(turns, list):
            raise FindingError(make_finding("missing_messages_list").at(line))
        return to_conversation(prompt, [*messages, *turns], line)

    return Preference(conversation(_PREFERRED), conversation(_NON_PREFERRED))
