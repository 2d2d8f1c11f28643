"""Exact duplicates: lines that hold equal examples, whatever the order of their keys.

Keeps sixteen bytes per example, so that millions of them fit into RAM. Examples count as equal if their 64-bit
fingerprints are equal; for a file of a million different examples, the probability of one false match is 1 in 40
million.
"""

from array import array
from typing import Any

import numpy as np

from luthier.data.check.duplicate_keys import pairs_with_first
from luthier.data.findings import Report, make_finding
from luthier.data.jsonl.columnar_parser import ChatColumns, roles_and_texts
from luthier.data.jsonl.reader import fingerprint
from luthier.data.jsonl.sequence_hashes import sequence_hash, sequence_hashes

_ROLE_WEIGHT = 0xD6E8FEB86659FD93


class ExactDuplicates:
    """Collects the fingerprints of one file's examples."""

    def __init__(self) -> None:
        self._fingerprints = array("Q")
        self._lines = array("Q")

    def add(self, line_number: int, example: dict[str, Any]) -> None:
        """Adds the example on a line. Line numbers count from 1 and must ascend."""
        columns = roles_and_texts(example)
        if columns:
            digest = sequence_hash(hash(text) + role * _ROLE_WEIGHT for role, text in zip(*columns, strict=True))
        else:
            digest = int.from_bytes(fingerprint(example)[:8], "big")
        self._fingerprints.append(digest)
        self._lines.append(line_number)

    def extend(self, first_line: int, examples: ChatColumns) -> None:
        """Adds examples on consecutive lines, beginning with `first_line`."""
        roles = np.frombuffer(examples.roles, np.uint8).astype(np.uint64) * np.uint64(_ROLE_WEIGHT)
        bounds = np.array(examples.bounds)
        self._fingerprints.frombytes(sequence_hashes(examples.hashes + roles, bounds[:-1], bounds[1:]).tobytes())
        self._lines.extend(range(first_line, first_line + len(examples)))

    def report_to(self, report: Report) -> None:
        """Adds a finding for each line that repeats an earlier one, in line order, and clears the collection."""
        if not self._lines:
            return
        digests, lines = np.frombuffer(self._fingerprints, np.uint64), np.frombuffer(self._lines, np.uint64)
        firsts, laters = pairs_with_first(digests)
        findings = (
            make_finding("duplicate_example", detail=str(lines[first])).at(int(lines[later]))
            for first, later in zip(firsts, laters, strict=True)
        )
        report.add_many("duplicate_example", findings, len(laters))
        self._fingerprints, self._lines = array("Q"), array("Q")
