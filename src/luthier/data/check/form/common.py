"""What the checks of form share."""

from collections.abc import Iterator
from typing import Any

from luthier.data.findings import Finding, problem

Found = Iterator[Finding]
Conversation = list[tuple[int, dict[str, Any]]]  # each well-formed message with its index


def unknown_keys(example: dict[str, Any], known: tuple[str, ...]) -> Found:
    yield from (problem("unrecognized_key", key=key) for key in example if key not in known)
