"""Stage 1, findings: the vocabulary of everything that can be wrong with a file.

A `Finding` is one fault; `CATALOGUE` has one entry per kind of fault, with its severity, a sentence and a remedy in
English and Chinese, and `wire`: the sentence of a failed job, in OpenAI's own words where they are known. The seven
kinds that OpenAI's cookbook counts have the cookbook's names. A `Report` collects the findings on one file.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from luthier.data.findings.conversion import CONVERSION, VARIANTS
from luthier.data.findings.foreign import FOREIGN_VARIANTS
from luthier.data.findings.kinds import Kind, Severity
from luthier.data.findings.names import chinese_fields
from luthier.data.findings.quality import QUALITY, QUALITY_VARIANTS
from luthier.data.findings.structure import STRUCTURE
from luthier.language import Language, say
from luthier.plugins import load
from luthier.types.errors import LuthierError

MAX_FINDINGS_PER_KIND = 100  # bounds the memory of a report on a huge faulty file; `counts` still counts all of them
CATALOGUE: dict[str, Kind] = STRUCTURE | CONVERSION | QUALITY
_VARIANTS = VARIANTS | QUALITY_VARIANTS | FOREIGN_VARIANTS
_JSON_KEYS = {  # by field, the key in the JSON of the API, of `--json` and of stored reports
    "code": "code",
    "severity": "severity",
    "line": "line",
    "message_index": "message_index",
    "key": "key",
    "value": "seen",
    "detail": "detail",
    "example": "example",
}


def printable(value: object, limit: int = 60) -> str:
    """A value as text for people: one line, cut to `limit` characters, safe to print on any terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    head = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text[:limit])
    return head + "…" if len(text) > limit else head


_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `line` and `example` count from 1 (blank lines are lines, not examples), `message_index` from 0.

    `value` is an excerpt of the faulty text; `detail` is a second fact for the sentence, such as what was expected.
    """

    code: str
    severity: Severity
    line: int | None = None
    message_index: int | None = None
    key: str | None = None
    value: str = ""
    detail: str = ""
    example: int | None = None

    def text(self, language: Language | None = None) -> str:
        """The position and the fault, in one sentence."""
        kind = self._kind()
        chinese = self._fields() | chinese_fields(self.code, self.key, self.value, self.detail)
        sentence = say(kind.en.format_map(self._fields()), kind.zh.format_map(chinese), language)
        return self._position(language) + sentence

    def sentence(self, language: Language | None = None) -> str:
        """`text` as a sentence in a paragraph: with a capital letter and one full stop."""
        text = self.text(language)
        stop = "" if text.endswith(_SENTENCE_ENDS) else say(".", "。", language)
        return text[:1].upper() + text[1:] + stop

    def remedy(self, language: Language | None = None) -> str:
        """What to do about it."""
        kind = self._kind()
        return say(kind.remedy_en, kind.remedy_zh, language).format_map(self._fields())

    @property
    def variant(self) -> str | None:
        """The name of the special case of its code, which has a remedy of its own; None for the usual case."""
        return self.detail if (self.code, self.detail) in _VARIANTS else None

    def wire(self, *, file_id: str = "", param: str = "training_file") -> str:
        """The sentence of a failed job, in OpenAI's words; always English, messages counted from 1."""
        wire = kind_of_code(self.code).wire
        # In a preference pair, the key of a message follows the name of its answer and a dot.
        template = wire if isinstance(wire, str) else wire[(self.key or "").rpartition(".")[2]]
        place = f"Line {self.line}" + ("" if self.message_index is None else f", message {self.message_index + 1}")
        at = place if self.key is None else f'{place}, key "{self.key}"'
        which = "Validation" if param == "validation_file" else "Training"
        return template.format_map(self._fields() | {"file_id": file_id, "which": which, "place": place, "at": at})

    def at(self, line: int, example: int | None = None) -> "Finding":
        """The same finding, with its position in the file."""
        return replace(self, line=line, example=example)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Finding":
        """The inverse of `to_dict`; sentences are written again. Raises KeyError for a code that does not exist."""
        kind_of_code(fields["code"])
        return cls(**{name: fields[key] for name, key in _JSON_KEYS.items()})

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        """Every field, with the sentence and the remedy."""
        fields = {key: getattr(self, name) for name, key in _JSON_KEYS.items()}
        return fields | {"text": self.text(language), "remedy": self.remedy(language)}

    def _kind(self) -> Kind:
        """The kind of this code, or of its special case, if `detail` names one."""
        return _VARIANTS.get((self.code, self.detail)) or kind_of_code(self.code)

    def _fields(self) -> dict[str, Any]:
        message = None if self.message_index is None else self.message_index + 1
        return {name: getattr(self, name) for name in self.__slots__} | {"message": message}

    def _position(self, language: Language | None) -> str:
        if self.line is None:
            return ""
        if self.message_index is None:
            return say(f"line {self.line}: ", f"第 {self.line} 行：", language)
        message = self.message_index + 1
        return say(f"line {self.line}, message {message}: ", f"第 {self.line} 行第 {message} 条消息：", language)


def kind_of_code(code: str) -> Kind:
    """The kind of a code in the catalogue, or in a quality check that has its own kinds. Raises KeyError."""
    return CATALOGUE[code] if code in CATALOGUE else all_kinds()[code]


def all_kinds() -> dict[str, Kind]:
    """The catalogue and the kinds of all quality checks, by code."""
    return CATALOGUE | {code: kind for check in load("luthier.checks").values() for code, kind in check.kinds.items()}


def make_finding(code: str, *, key: str | None = None, value: object = "", detail: str = "") -> Finding:
    """A finding with the catalogue's severity and no position yet; `key` and `value` are made printable."""
    safe_key = None if key is None else printable(key)
    return Finding(code, kind_of_code(code).severity, key=safe_key, value=printable(value), detail=detail)


class FindingError(LuthierError):
    """A finding because of which a line or file cannot be read; the message is its sentence and remedy in English."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.text('en')}. {finding.remedy('en')}")
        self.finding = finding


@dataclass
class Report:
    """The findings on a file.

    `method`: the training method that the file was checked for. `counts` counts all of them by code, `findings` has the
    first `MAX_FINDINGS_PER_KIND` of each kind. `faulty`: how many of the examples have a structural error;
    `with_calls`: how many of the others call a function, preference pairs apart.
    `token_stats`: token counts, if the caller has a tokenizer.
    """

    examples: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faulty: int = 0
    with_calls: int = 0
    token_stats: dict[str, Any] | None = None
    method: str = "supervised"
    _per_kind: Counter[tuple[str, Severity]] = field(default_factory=Counter, init=False, repr=False)

    def add(self, finding: Finding, *, first: bool = False) -> None:
        """Adds a finding at the end or, with `first`, at the front, where findings on the whole file belong."""
        self.counts[finding.code] += 1
        kind = finding.code, finding.severity
        self._per_kind[kind] += 1
        if self._per_kind[kind] <= MAX_FINDINGS_PER_KIND:
            self.findings.insert(0 if first else len(self.findings), finding)

    def add_many(self, code: str, findings: Iterable[Finding], count: int) -> None:
        """Adds `count` findings of one kind, of which `findings` yields no more than are listed."""
        for finding in islice(findings, MAX_FINDINGS_PER_KIND):
            self.add(finding)
        if count > MAX_FINDINGS_PER_KIND:
            self.counts[code] += count - MAX_FINDINGS_PER_KIND

    @property
    def call_share(self) -> float:
        """The share of the valid examples that call a function."""
        return self.with_calls / max(self.examples - self.faulty, 1)

    @property
    def ok(self) -> bool:
        """Whether the file can be trained on: no errors, whatever the warnings."""
        return self.first_error is None

    @property
    def first_error(self) -> Finding | None:
        """The error that fails a job."""
        return next((finding for finding in self.findings if finding.severity == "error"), None)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Report":
        """The inverse of `to_dict`. Raises KeyError or TypeError for anything else."""
        findings = [Finding.from_dict(fields) for fields in value["findings"]]
        method = value.get("method", "supervised")  # reports of earlier versions do not name it
        return cls(value["examples"], findings, Counter(value["counts"]), method=method)

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "method": self.method,
            "examples": self.examples,
            "counts": dict(self.counts),
            "findings": [finding.to_dict(language) for finding in self.findings],
            **({"numbers": self.token_stats} if self.token_stats else {}),
        }
