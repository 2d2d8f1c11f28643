"""The training method that a JSONL file is for, judged by its first lines: supervised, dpo or reinforcement.

An item for reinforcement fine-tuning has messages up to the answer, and beside them the fields that its graders read
as `item.*`, such as a reference answer.
"""

from itertools import islice
from pathlib import Path
from typing import Any, Literal

from luthier.data.examples.example import kind_of
from luthier.data.examples.key_meanings import describes, is_empty
from luthier.data.findings import FindingError
from luthier.data.jsonl.reader import parse_line, read_lines

Method = Literal["supervised", "dpo", "reinforcement"]
METHODS: tuple[Method, ...] = ("supervised", "dpo", "reinforcement")
_SAMPLE_LINES = 50
_CHAT_KEYS = frozenset(("messages", "tools", "functions", "parallel_tool_calls"))


def recognised_method(path: Path) -> Method:
    """The method that all readable examples among the first 50 are for; "supervised" if they differ. Raises OSError."""
    methods = set()
    try:
        for line in islice(read_lines(path), _SAMPLE_LINES):
            try:
                value = parse_line(line)
            except FindingError:
                continue
            methods.add(_method_of(value) if isinstance(value, dict) else "supervised")
    except FindingError:  # not a text file
        return "supervised"
    return methods.pop() if len(methods) == 1 else "supervised"


def _method_of(example: dict[str, Any]) -> Method:
    if kind_of(example) == "preference":
        return "dpo"
    return "reinforcement" if _is_item(example) else "supervised"


def _is_item(example: dict[str, Any]) -> bool:
    """Whether it has messages without an answer, and a field for graders."""
    messages = example.get("messages")
    if not isinstance(messages, list) or not messages:
        return False
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    fields = [key for key in example if key not in _CHAT_KEYS and not is_empty(example[key])]
    return roles[-1] == "user" and "assistant" not in roles and not all(map(describes, fields))
