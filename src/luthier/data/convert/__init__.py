"""Stage 4b, convert: a file in any common format in, JSONL of examples out, with a note for every conversion.

`prepared` inspects the beginning of a file and, unless it is JSONL of examples, writes its content as such to a
temporary file. Nothing is guessed silently: what was recognised becomes a note, and what is ambiguous is an error that
names the option to decide with. A line that cannot be converted is passed on unchanged, for the check to report.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from luthier.data.convert.forms import Form, recognise_form
from luthier.data.convert.shapes import ColumnNames, Shape, is_misfit, recognise_shape
from luthier.data.convert.text import open_text
from luthier.data.examples.key_meanings import is_long_text, meaning_of
from luthier.data.findings import Finding, make_finding
from luthier.types.json_lines import in_one_line

_MAX_UNUSED_KEYS = 20


class Hints(NamedTuple):
    """What the caller specifies for an ambiguous file: its encoding, names of columns, and the sheet."""

    encoding: str | None = None
    question: str | None = None
    answer: str | None = None
    sheet: str | None = None


class Prepared(NamedTuple):
    """A JSONL file, notes on its conversion, and whether it is a different file from the original."""

    path: Path
    notes: list[Finding]
    converted: bool


@contextmanager
def prepared(path: Path, hints: Hints | None = None) -> Iterator[Prepared]:
    """`path` itself if it is JSONL of examples, else a temporary file that exists until the context ends.

    Raises `FindingError` for an ambiguous or unreadable file, and `OSError` as `open` does.
    """
    hints = hints or Hints()
    with tempfile.TemporaryDirectory(prefix="luthier-check-") as folder:
        text = open_text(path, hints.encoding, Path(folder))
        named = [name for name in (hints.question, hints.answer) if name]
        is_csv = bool({".csv", ".tsv"}.intersection(map(str.lower, path.suffixes[-2:])))  # .csv.gz too
        form = recognise_form(text.path, hints.sheet, named, is_csv=is_csv)
        columns = ColumnNames(hints.question, hints.answer)
        shape = recognise_shape(form.sample(), columns, is_table=form.is_table)
        conversions = [name for name in (*text.conversions, form.name, shape and shape.name) if name]
        notes = [make_finding("converted_from", value=name) for name in conversions]
        if text.has_byte_order_mark:
            notes.append(make_finding("byte_order_mark"))
        if form.titles:
            notes.append(make_finding("rows_skipped", value=" / ".join(form.titles), detail=str(len(form.titles))))
        if not form.name and not shape:
            yield Prepared(text.path, notes, bool(text.conversions))
            return
        out = Path(folder) / "examples.jsonl"
        unused = _Unused()
        unused.add(form.unused)
        _write(form, shape, out, unused)
        yield Prepared(out, [*notes, *unused.findings()], converted=True)


class _Unused:
    """Keys whose values no example contains: how often each occurs, and a sample value."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._samples: dict[str, Any] = {}
        self._texts = Counter[str]()  # how many values of each key are long texts or have a meaning

    def add(self, members: dict[str, Any]) -> None:
        for key, value in members.items():
            self._counts[key] += 1
            self._samples.setdefault(key, value)
            self._texts[key] += is_long_text(key, value) or meaning_of(key, value) is not None

    def findings(self) -> Iterator[Finding]:
        """One per key; a warning where most values are long texts or have a meaning."""
        for key, count in self._counts.most_common(_MAX_UNUSED_KEYS):
            finding = make_finding("column_unused", key=key, value=self._samples[key], detail=str(count))
            yield replace(finding, severity="warning") if self._texts[key] * 2 > count else finding


def _write(form: Form, shape: Shape | None, out: Path, unused: _Unused) -> None:
    with out.open("wb") as file:
        for record in form.records():
            if isinstance(record, bytes):  # a line that is not JSON
                file.write(record + b"\n")
                continue
            is_object = isinstance(record, dict) and not is_misfit(record)
            converted = shape.convert(record) if shape and is_object else None
            if converted:
                unused.add(converted.unused)
            file.write(_encode(converted.example if converted else record) + b"\n")


def _encode(record: Any) -> bytes:
    """JSON that keeps what the check must report: NaN, large integers, surrogates. Those that stand for bytes of the
    file become these bytes, others escapes.
    """
    with suppress(TypeError):  # a surrogate, or an integer of more than 64 bits
        line = orjson.dumps(record)
        if b"null" not in line:  # orjson writes it for NaN and infinity
            return in_one_line(line.decode()).encode()
    text = in_one_line(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    with suppress(UnicodeEncodeError):
        line = text.encode("utf-8", "surrogateescape")
        if line.decode("utf-8", "surrogateescape") == text:
            return line
    return json.dumps(record).encode()
