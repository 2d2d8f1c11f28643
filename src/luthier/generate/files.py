"""The output files of a run, side by side: examples, rejects, report and journal."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.generate.errors import OptionsError
from luthier.generate.journal import Journal
from luthier.language import say
from luthier.types.durable_text import replace_durably
from luthier.types.json_lines import json_line

_OUTPUT_HASH_FACT = "output sha256"


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The paths of a run's files: beside `data.jsonl`, `data.rejects.jsonl`, `data.report.json` and `data.journal`."""

    out: Path

    @property
    def rejects(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.rejects.jsonl")

    @property
    def report(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.report.json")

    @property
    def journal(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.journal")

    def check_overwrite(self, journal: Journal | None) -> None:
        """Raises OptionsError if `out` exists, unless it is unchanged since a run with this journal wrote it."""
        if not self.out.exists():
            return
        if journal is not None and self.out.is_file() and journal.get_fact(_OUTPUT_HASH_FACT) == _sha256(self.out):
            return
        raise OptionsError(
            say(
                f"{self.out} exists and is not the output of this journal, or has been changed since. Choose another "
                "--out, or overwrite it with --force.",
                f"{self.out} 已存在，而且不是这份运行日志写出的，或之后被改动过。请换一个 --out，或用 --force 覆盖。",
            )
        )

    def write(
        self,
        examples: Iterable[dict[str, Any]],
        rejects: Iterable[dict[str, Any]],
        report: dict[str, Any],
        journal: Journal | None,
    ) -> None:
        """Writes examples, rejects and report.

        The hash of the examples is recorded in the journal first, so that a rerun after a crash may replace them.
        """
        raw = _lines(examples)
        if journal is not None:
            journal.set_fact(_OUTPUT_HASH_FACT, hashlib.sha256(raw).hexdigest())
        for path, content in (
            (self.rejects, _lines(rejects)),
            (self.report, (json.dumps(report, ensure_ascii=False, indent=2) + "\n").encode()),
            (self.out, raw),
        ):
            with replace_durably(path) as file:
                file.write(content)


def _lines(values: Iterable[dict[str, Any]]) -> bytes:
    # Teachers may send lone surrogates, which UTF-8 cannot encode.
    return "".join(json_line(value) + "\n" for value in values).encode("utf-8", "replace")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
