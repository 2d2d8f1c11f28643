"""What a training file teaches beside its answers: how calls are written, which functions there are, pairs or chats.

It travels with the adapter, in a file of its own, so that a model answers in the form of its data and knows its
functions when a request does not send them. Knows nothing about jobs or requests.
"""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luthier.data.examples.example import CallForm, Example, call_form, kind_of, to_example
from luthier.data.examples.tool_definitions import collect
from luthier.data.jsonl.reader import parse_line, read_lines

FILE = "taught.json"


@dataclass(frozen=True)
class Taught:
    """`definitions` in today's form; `pairs`: of prompt and completion, so that a text is answered as a prompt."""

    call_form: CallForm | None = None
    pairs: bool = False
    definitions: list[dict[str, Any]] = field(default_factory=list)

    def write(self, adapter: Path) -> None:
        """On the disk itself: without it a model whose row outlives a power cut could not be read."""
        with (adapter / FILE).open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())


def read(adapter: Path) -> Taught:
    """Of an adapter folder; of one that says nothing, nothing."""
    try:
        return Taught(**json.loads((adapter / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Taught()


def survey(path: Path, parent: Taught | None = None) -> Taught:
    """Of a checked training file; what it leaves open is as in `parent`, the model that training goes on from.

    Raises `FindingError`, as `read_examples`.
    """
    form: CallForm | None = None
    pairs = False
    sets: Counter[str] = Counter()  # most files repeat one set of definitions in every line
    for line in read_lines(path):
        value = parse_line(line)
        kind = kind_of(value)
        pairs = pairs or kind == "completion"
        example = to_example(value["input"] if kind == "preference" else value, line.number)
        form = form or call_form(example)
        if example.tools or example.functions:
            sets[json.dumps([example.tools, example.functions], ensure_ascii=False)] += 1
    known = (json.loads(text) for text, _ in sets.most_common())
    definitions = collect(Example([], tools, functions, None, 0) for tools, functions in known)
    earlier = parent or Taught()
    return Taught(form or earlier.call_form, pairs, definitions or earlier.definitions)
