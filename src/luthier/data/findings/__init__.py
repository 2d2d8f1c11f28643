"""What can be wrong with a file: one `Finding` per fault, one entry in `CATALOGUE` per kind of fault.

A kind has its severity, a sentence and a remedy in English and Chinese, and `wire`: the sentence of a failed job, in
OpenAI's own words where they are known. The seven kinds that OpenAI's cookbook counts keep the cookbook's names.
This module knows nothing about how a fault is found, nor about files; it only says.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from luthier.data.findings.kinds import Kind, Severity
from luthier.data.findings.quality import QUALITY
from luthier.data.findings.structure import STRUCTURE
from luthier.language import Language, say
from luthier.types.errors import LuthierError

KEPT_PER_KIND = 100  # a 512 MB file of nothing but faults must not fill the memory; `counts` still counts them all
CATALOGUE: dict[str, Kind] = STRUCTURE | QUALITY


def shown(value: object, limit: int = 60) -> str:
    """A value as a person may see it: one line, cut to `limit` characters, safe to print on any terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    head = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text[:limit])
    return head + "…" if len(text) > limit else head


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `line` and `example` count from 1 (blank lines are lines, not examples), `message_index` from 0."""

    code: str
    severity: Severity
    line: int | None = None
    message_index: int | None = None
    key: str | None = None
    seen: str = ""
    detail: str = ""  # the second fact of the sentence: what was expected, or where
    example: int | None = None

    def text(self, language: Language | None = None) -> str:
        """Where and what, in one sentence."""
        kind = CATALOGUE[self.code]
        return self._where(language) + say(kind.en, kind.zh, language).format_map(self._fields())

    def remedy(self, language: Language | None = None) -> str:
        """What to do about it."""
        kind = CATALOGUE[self.code]
        return say(kind.remedy_en, kind.remedy_zh, language).format_map(self._fields())

    def wire(self, *, file_id: str = "", param: str = "training_file") -> str:
        """The sentence of a failed job, as OpenAI words it; always English, messages counted from 1."""
        wire = CATALOGUE[self.code].wire
        template = wire if isinstance(wire, str) else wire[self.key or ""]
        place = f"Line {self.line}" + ("" if self.message_index is None else f", message {self.message_index + 1}")
        at = place if self.key is None else f'{place}, key "{self.key}"'
        which = "Validation" if param == "validation_file" else "Training"
        return template.format_map(self._fields() | {"file_id": file_id, "which": which, "place": place, "at": at})

    def at(self, line: int, example: int | None = None) -> "Finding":
        """The same finding, with its place in the file."""
        return replace(self, line=line, example=example)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Finding":
        """What `to_dict` made; the sentences are said anew. Raises KeyError for a code that is not known here."""
        CATALOGUE[fields["code"]]
        return cls(**{name: fields[name] for name in cls.__slots__})

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        """Every field, with the sentence and the remedy."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"text": self.text(language), "remedy": self.remedy(language)}

    def _fields(self) -> dict[str, Any]:
        message = None if self.message_index is None else self.message_index + 1
        return {name: getattr(self, name) for name in self.__slots__} | {"message": message}

    def _where(self, language: Language | None) -> str:
        if self.line is None:
            return ""
        if self.message_index is None:
            return say(f"line {self.line}: ", f"第 {self.line} 行：", language)
        message = self.message_index + 1
        return say(f"line {self.line}, message {message}: ", f"第 {self.line} 行第 {message} 条消息：", language)


def problem(code: str, *, key: str | None = None, seen: object = "", detail: str = "") -> Finding:
    """A finding of the catalogue's severity that does not say yet where it is; `key` and `seen` are made printable."""
    safe_key = None if key is None else shown(key)
    return Finding(code, CATALOGUE[code].severity, key=safe_key, seen=shown(seen), detail=detail)


class FindingError(LuthierError):
    """A finding that stops the reading; the message is its sentence and its remedy, in English."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.text('en')}. {finding.remedy('en')}")
        self.finding = finding


@dataclass
class Report:
    """What was found in a file. `counts` counts every finding by code; of each kind the first `KEPT_PER_KIND` stay.

    `faulty`: how many of the examples have an error of form.
    """

    examples: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faulty: int = 0
    numbers: dict[str, Any] | None = None  # lengths in tokens, if somebody with a tokenizer has counted them
    _kept: Counter[tuple[str, Severity]] = field(default_factory=Counter, init=False, repr=False)

    def add(self, finding: Finding, *, first: bool = False) -> None:
        """Count a finding and keep it, at the end or (what is true of the whole file) at the front."""
        self.counts[finding.code] += 1
        kind = finding.code, finding.severity
        self._kept[kind] += 1
        if self._kept[kind] <= KEPT_PER_KIND:
            self.findings.insert(0 if first else len(self.findings), finding)

    def add_many(self, code: str, findings: Iterable[Finding], count: int) -> None:
        """Findings of one kind, `count` in all, of which no more are asked for than are kept."""
        for finding in islice(findings, KEPT_PER_KIND):
            self.add(finding)
        if count > KEPT_PER_KIND:
            self.counts[code] += count - KEPT_PER_KIND

    @property
    def ok(self) -> bool:
        """Whether the file can be trained on: no errors, whatever the warnings."""
        return self.first_error is None

    @property
    def first_error(self) -> Finding | None:
        """The error that a failed job tells of."""
        return next((finding for finding in self.findings if finding.severity == "error"), None)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Report":
        """What `to_dict` made. Raises KeyError or TypeError for anything else."""
        findings = [Finding.from_dict(fields) for fields in value["findings"]]
        return cls(examples=value["examples"], findings=findings, counts=Counter(value["counts"]))

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "examples": self.examples,
            "counts": dict(self.counts),
            "findings": [finding.to_dict(language) for finding in self.findings],
            **({"numbers": self.numbers} if self.numbers else {}),
        }
