"""Exact copies: lines that hold equal examples, whatever the order of their keys.

Sixteen bytes are kept per example, so that millions of them fit into memory. Equal is what has the same 64 bits of
fingerprint; among a million different examples, two share them once in forty million files.
"""

from array import array
from typing import Any

import numpy as np

from luthier.data.findings import Report, problem
from luthier.data.jsonl.columnar_parser import Plain, plain_value
from luthier.data.jsonl.duplicate_keys import with_first
from luthier.data.jsonl.reader import fingerprint

_MASK = 2**64 - 1


class Copies:
    def __init__(self) -> None:
        self._fingerprints = array("Q")
        self._lines = array("Q")

    def add(self, line_number: int, example: dict[str, Any]) -> None:
        """`line_number` counts from 1 and grows."""
        value = plain_value(example)
        print_ = hash((value[0], *value[1])) & _MASK if value else int.from_bytes(fingerprint(example)[:8], "big")
        self._fingerprints.append(print_)
        self._lines.append(line_number)

    def extend(self, first_line: int, examples: Plain) -> None:
        """Examples on lines that follow each other."""
        roles, texts = examples.roles, examples.texts
        prints = [hash((roles[start:end], *texts[start:end])) & _MASK for start, end in examples.spans()]
        self._fingerprints.extend(prints)
        self._lines.extend(range(first_line, first_line + len(prints)))

    def tell(self, report: Report) -> None:
        """A finding for each line that is the same as an earlier one, in order of lines. Ends the collecting."""
        if not self._lines:
            return
        prints, lines = np.frombuffer(self._fingerprints, np.uint64), np.frombuffer(self._lines, np.uint64)
        firsts, laters = with_first(prints)
        pairs = zip(firsts, laters, strict=True)
        made = (problem("duplicate_example", detail=str(lines[first])).at(int(lines[later])) for first, later in pairs)
        report.add_many("duplicate_example", made, len(laters))
        self._fingerprints, self._lines = array("Q"), array("Q")
