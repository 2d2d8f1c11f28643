"""Preference examples: one input with a better and a worse answer, each pair as two conversations.

This module trusts a file that `check` has passed. It knows nothing about tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.examples.example import Example
from luthier.data.findings import FindingError, problem
from luthier.data.jsonl.reader import parse_line, read_lines

_PREFERRED = ("preferred_output", "preferred_completion")
_OTHER = ("non_preferred_output", "non_preferred_completion")


@dataclass(frozen=True, slots=True)
class Preference:
    """The same input twice; only the answers are learnt from, so assistant messages of the input weigh nothing."""

    preferred: Example
    non_preferred: Example


def read_preferences(path: Path) -> Iterator[Preference]:
    """The examples of a checked file, in order. Raises `FindingError`, a `LuthierError`, that names the line."""
    for line in read_lines(path):
        yield to_preference(parse_line(line), line.number)


def to_preference(value: Any, line: int) -> Preference:
    given = value.get("input") if isinstance(value, dict) else None
    if not isinstance(given, dict) or not isinstance(given.get("messages"), list):
        raise FindingError(problem("missing_messages_list").at(line))
    messages = [{**turn, "weight": 0} if turn.get("role") == "assistant" else turn for turn in given["messages"]]

    def conversation(names: tuple[str, str]) -> Example:
        answer = next((value[name] for name in names if value.get(name)), None)
        turns = [answer] if isinstance(answer, dict) else answer
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise FindingError(problem("missing_messages_list").at(line))
        definitions = given.get("tools") or None, given.get("functions") or None
        return Example([*messages, *turns], *definitions, given.get("parallel_tool_calls"), line)

    return Preference(conversation(_PREFERRED), conversation(_OTHER))
