"""Imports a folder of the user's own JSONL files as training files, for accounts that no longer answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from luthier.data.examples.example import kind_of
from luthier.data.findings import FindingError
from luthier.data.jsonl.reader import parse_line, read_lines
from luthier.language import say
from luthier.migrate.folder import sha256
from luthier.migrate.import_result import ImportResult
from luthier.store import Store
from luthier.types.errors import LuthierError


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The JSONL files below `root`, and the number of other files."""

    root: Path
    jsonl: list[Path]
    others: int

    @classmethod
    def below(cls, root: Path) -> OwnFiles:
        """Finds the files below `root`, without hidden ones. Raises LuthierError if there is no JSONL file."""
        paths = sorted(path for path in root.rglob("*") if path.is_file() and not _is_hidden(path, root))
        jsonl = [path for path in paths if path.suffix.lower() == ".jsonl"]
        if not jsonl:
            raise LuthierError(
                say(
                    f"{root} contains neither a recording (manifest.json) nor JSONL files. Pass the folder of `luthier "
                    "migrate record`, or one with your training files.",
                    f"{root} 里既没有录制（manifest.json），也没有 JSONL 文件。"
                    "请给出 `luthier migrate record` 的文件夹，或存放训练文件的文件夹。",
                )
            )
        return cls(root, jsonl, len(paths) - len(jsonl))


def import_own_files(root: Path, store: Store) -> ImportResult:
    """Imports the JSONL files below `root`.

    Ids are derived from content and name, so a file has the same id in every run. A file is refused if one of its lines
    is not an example; the result names the line.

    Raises:
        LuthierError: There is no JSONL file.
    """
    own = OwnFiles.below(root)
    result = ImportResult(root.resolve().as_uri(), other_files=own.others)
    for path in own.jsonl:
        name = path.relative_to(root).as_posix()
        if fault := fault_of(path):
            result.faults[name] = fault
            continue
        digest = hashlib.sha256(name.encode() + b"\0" + sha256(path).encode()).hexdigest()[:24]
        file = {"id": f"file-{digest}", "filename": name, "purpose": "fine-tune"}
        added = store.imports().add_file(file, path, result.source)
        (result.files if added else result.present).append(file["id"])
    return result


def fault_of(path: Path) -> str | None:
    """Why a file is not a training file, with the line; None if every line is an example."""
    number = 0
    try:
        for line in read_lines(path):
            number = line.number
            value = parse_line(line)
            if not isinstance(value, dict) or kind_of(value) is None:
                return say(
                    f"line {number}: not an example (messages, prompt with completion, or a preference pair)",
                    f"第 {number} 行：不是样本（messages、prompt 加 completion，或偏好对）",
                )
    except FindingError as error:
        finding = error.finding
        return say(f"line {finding.line}: ", f"第 {finding.line} 行：") + finding.text()
    return None if number else say("the file is empty", "文件是空的")


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
