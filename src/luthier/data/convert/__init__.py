"""Stage 4b, convert: a file in any common format in, JSONL of examples out, with a note for every conversion.

`prepared` inspects the beginning of a file and, unless it is JSONL of examples, writes its content as such to a
temporary file. Nothing is guessed silently: what was recognised is a note, and what is ambiguous is an error that names
the flag that decides. A line that cannot be converted is passed on unchanged, for the check to report.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from luthier.data.convert.forms import Form, recognise_form
from luthier.data.convert.shapes import ColumnNames, Shape, recognise_shape
from luthier.data.convert.text import open_text
from luthier.data.findings import Finding, make_finding


class Hints(NamedTuple):
    """What the caller specifies, where the file is ambiguous."""

    encoding: str | None = None
    question: str | None = None
    answer: str | None = None
    sheet: str | None = None


class Prepared(NamedTuple):
    """A file of JSON lines, notes on its conversion, and whether it is another file than the original."""

    path: Path
    notes: list[Finding]
    converted: bool


@contextmanager
def prepared(path: Path, hints: Hints | None = None) -> Iterator[Prepared]:
    """`path` itself if it is JSONL of examples, else a temporary file that exists as long as the context.

    Raises `FindingError` for an ambiguous or unreadable file, `OSError` as `open` does.
    """
    hints = hints or Hints()
    with tempfile.TemporaryDirectory(prefix="luthier-check-") as folder:
        text = open_text(path, hints.encoding, Path(folder))
        form = recognise_form(text.path, hints.sheet)
        columns = ColumnNames(hints.question, hints.answer)
        shape = recognise_shape(form.sample(), columns, is_table=form.is_table)
        conversions = [name for name in (*text.conversions, form.name, shape and shape.name) if name]
        notes = [make_finding("converted_from", value=name) for name in conversions]
        if text.has_byte_order_mark:
            notes.append(make_finding("byte_order_mark"))
        if not form.name and not shape:
            yield Prepared(text.path, notes, bool(text.conversions))
            return
        out = Path(folder) / "examples.jsonl"
        _write(form, shape, out)
        yield Prepared(out, notes, converted=True)


def _write(form: Form, shape: Shape | None, out: Path) -> None:
    with out.open("wb") as file:
        for record in form.records():
            if isinstance(record, bytes):  # a line that is no JSON
                file.write(record + b"\n")
                continue
            example = shape.convert(record) if shape and isinstance(record, dict) else None
            file.write(_encode(example or record) + b"\n")


def _encode(record: Any) -> bytes:
    try:
        return orjson.dumps(record)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits: the check reports them
        return json.dumps(record).encode()
