"""`luthier migrate verify`: compares a recording with its manifest, without access to the account."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luthier.language import say
from luthier.migrate.folder import RecordingFolder, read_json, sha256
from luthier.types.errors import LuthierError


@dataclass
class Verification:
    """The contents of a recording and its faults.

    Attributes:
        counts: The number of recorded objects by kind.
        damaged: Path → reason, for files whose content has changed.
        missing: Name → reason, for objects that another run of `record` may add.
        lost: Files that had already been deleted from the account.
    """

    counts: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not (self.damaged or self.missing)

    def to_dict(self) -> dict[str, Any]:
        return {"whole": self.is_whole, **asdict(self)}


def verify(root: Path) -> Verification:
    """Verifies every file of a recording. Raises LuthierError for a folder without a manifest."""
    folder = RecordingFolder(root)
    if not folder.manifest.is_file():
        raise LuthierError(
            say(
                f"{root} has no manifest.json, which `luthier migrate record` writes at the end. Run it again with "
                "--out for this folder.",
                f"{root} 里没有 manifest.json；`luthier migrate record` 运行到最后才写它。请用 --out 指定此文件夹，"
                "再运行一次。",
            )
        )
    manifest = read_json(folder.manifest)
    result = Verification()
    _verify_files(folder, manifest, result)
    _verify_documents(folder, manifest, result)
    for area in manifest.get("gaps") or []:
        if area.get("status") not in (404, 405, 501):
            result.missing[str(area["area"])] = str(area["message"])
    if manifest.get("without_answers"):
        result.missing["answers"] = str(manifest["without_answers"])
    counts = manifest.get("counts") or {}
    result.counts |= {name: int(counts.get(name, 0)) for name in ("jobs", "stored_completions", "batches")}
    return result


def _verify_files(folder: RecordingFolder, manifest: dict[str, Any], result: Verification) -> None:
    files: dict[str, dict[str, Any]] = manifest.get("files") or {}
    result.counts["files"] = sum(bool(file.get("path")) for file in files.values())
    for file_id, file in files.items():
        name, error = file.get("path"), file.get("error") or {}
        if not name and error.get("status") == 404:
            result.lost.append(file_id)
        elif not name:
            result.missing[file_id] = str(error.get("message") or "")
        elif fault := _fault(folder.root / str(name), file.get("sha256")):
            result.damaged[str(name)] = fault


def _verify_documents(folder: RecordingFolder, manifest: dict[str, Any], result: Verification) -> None:
    documents: dict[str, str] = manifest.get("documents") or {}
    for name, digest in documents.items():
        if fault := _fault(folder.root / name, digest):
            result.damaged[name] = fault
    models = manifest.get("answers") or []
    result.counts["models"] = sum(bool(model.get("answered")) for model in models)
    result.counts["answers"] = sum(int(model.get("answered", 0)) for model in models)
    for model in models:
        if model.get("missing"):
            stopped = (model.get("stopped") or {}).get("message")
            answers = say(f"{model['missing']} of {model['questions']} answers",
                          f"{model['questions']} 个回答中的 {model['missing']} 个")  # fmt: skip
            result.missing[str(model["model"])] = answers + (f" ({stopped})" if stopped else "")


def _fault(path: Path, digest: str | None) -> str | None:
    if not path.is_file():
        return say("the file does not exist", "文件不存在")
    if digest and sha256(path) != digest:
        return say("its checksum differs", "校验和不符")
    return None
