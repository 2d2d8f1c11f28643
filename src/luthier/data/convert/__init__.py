"""What people bring → JSON lines of examples that the server takes, with a note for every step of the way.

`prepared` looks at the beginning of a file and, where it is no JSONL of examples, writes what it holds as such into a
temporary file. Nothing is guessed in silence: what was recognised is a note, and what could be read in two ways is an
error that names the flag that decides. A line that cannot be converted is passed on as it is, for the check to judge.
This package does not know what is wrong with an example; only `check` does.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from luthier.data.convert.forms import Form, recognise_form
from luthier.data.convert.shapes import Columns, Shape, recognise_shape
from luthier.data.convert.text import open_text
from luthier.data.findings import Finding, problem


class Hints(NamedTuple):
    """What a person said about a file, to decide what it leaves open."""

    encoding: str | None = None
    question: str | None = None
    answer: str | None = None
    sheet: str | None = None


class Prepared(NamedTuple):
    """A file of JSON lines, the notes on how it came about, and whether it is another file than the one given."""

    path: Path
    notes: list[Finding]
    converted: bool


@contextmanager
def prepared(path: Path, hints: Hints | None = None) -> Iterator[Prepared]:
    """`path` itself if it is JSONL of examples, else a temporary file that lives as long as the context.

    Raises `FindingError` on what can be read in two ways or not at all, `OSError` as `open` does.
    """
    hints = hints or Hints()
    with tempfile.TemporaryDirectory(prefix="luthier-check-") as folder:
        text = open_text(path, hints.encoding, Path(folder))
        form = recognise_form(text.path, hints.sheet)
        columns = Columns(hints.question, hints.answer)
        shape = recognise_shape(form.sample(), columns, is_table=form.is_table)
        notes = [
            problem("converted_from", seen=name) for name in (*text.steps, form.name, shape and shape.name) if name
        ]
        if text.has_mark:
            notes.append(problem("byte_order_mark"))
        if not form.name and not shape:
            yield Prepared(text.path, notes, bool(text.steps))
            return
        out = Path(folder) / "examples.jsonl"
        _write(form, shape, out)
        yield Prepared(out, notes, converted=True)


def _write(form: Form, shape: Shape | None, out: Path) -> None:
    with out.open("wb") as file:
        for item in form.items():
            if isinstance(item, bytes):  # a line that is no JSON
                file.write(item + b"\n")
                continue
            made = shape.convert(item) if shape and isinstance(item, dict) else None
            file.write(_line(made or item) + b"\n")


def _line(item: Any) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:  # half a character, a number of more than 64 bits: the check has words for them
        return json.dumps(item).encode()
