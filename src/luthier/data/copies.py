"""Exact copies: lines that hold equal examples, whatever the order of their keys.

Sixteen bytes are kept per example, so that millions of them fit into memory. Equal is what has the same 64 bits of
fingerprint; among a million different examples, two share them once in forty million files.
"""

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from luthier.data.findings import Finding, problem
from luthier.data.read import fingerprint


class Copies:
    def __init__(self) -> None:
        self._fingerprints = array("Q")
        self._lines = array("Q")

    def add(self, line_number: int, example: dict[str, Any]) -> None:
        """`line_number` counts from 1 and grows."""
        self._fingerprints.append(int.from_bytes(fingerprint(example)[:8], "big"))
        self._lines.append(line_number)

    def findings(self) -> Iterator[Finding]:
        """One for each line that is the same as an earlier one, in order of lines."""
        if not self._lines:
            return
        prints, lines = np.frombuffer(self._fingerprints, np.uint64), np.frombuffer(self._lines, np.uint64)
        _, first, inverse = np.unique(prints, return_index=True, return_inverse=True)
        original = first[inverse]
        for index in np.flatnonzero(original != np.arange(len(lines))):
            yield problem("duplicate_example", detail=str(lines[original[index]])).at(int(lines[index]))
