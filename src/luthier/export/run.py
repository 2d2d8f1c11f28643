"""One export: all files are written into a staging folder beside the target, verified, and renamed into place."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from luthier.catalogue import Catalogue
from luthier.export.card import write_card
from luthier.export.folders import TargetWriter
from luthier.export.gate import Gate, Verification
from luthier.export.source import find_source
from luthier.export.targets import Target
from luthier.language import say
from luthier.lineage import lineage
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.durable_text import rename_durably
from luthier.types.errors import ExportError

Stage = Literal["writing", "verifying"]
Notify = Callable[[Stage, str], None]  # called with the stage and the name of the target or artefact
_RESERVED_BYTES = 256 * 1024**2  # disk space that an export leaves free for other programs


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        folder: The new folder; None if no artefact passed verification, in which case nothing was written.
        trained_exact: How many parity samples the model answered exactly in the trainer.
    """

    model: str
    target: str
    folder: Path | None
    verifications: list[Verification]
    trained_exact: int

    @property
    def failed(self) -> list[Verification]:
        return [verification for verification in self.verifications if verification.failure]

    def to_dict(self) -> dict[str, Any]:
        return {
            "object": "model.export",
            "model": self.model,
            "target": self.target,
            "folder": str(self.folder) if self.folder else None,
            "trained_exact": self.trained_exact,
            "artefacts": [verification.to_dict() for verification in self.verifications],
        }


def export_model(
    name: str,
    target: Target,
    out: Path,
    settings: Settings,
    store: Store,
    catalogue: Catalogue,
    notify: Notify = lambda *_: None,
    base_id: str | None = None,
) -> ExportResult:
    """Writes the folder `out`, which must not exist yet, without the artefacts that fail the parity gate.

    Raises:
        ExportError: The model cannot be exported to this target, or `out` cannot be created.
        BaseModelError: The base model cannot be read.
        CorruptDataError: A file of the model does not match its checksum.
        OSError: A file cannot be read or written.

    After an error no folder is left behind.
    """
    source = find_source(name, store, catalogue, settings)
    writer = TargetWriter(source, target, base_id)
    _check_target_folder(out)
    _check_disk(out, writer.byte_count())
    origin = lineage(source.model, store, catalogue)
    with _staging_folder(out) as staging, tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as helper:
        notify("writing", target.kind)
        gate, verifications = Gate(source, settings, Path(helper)), list[Verification]()
        for artefact in writer.write(staging):
            notify("verifying", artefact.label)
            verifications.append(gate.verify(artefact))
        passed = [verification for verification in verifications if not verification.failure]
        for verification in verifications:
            if verification.failure and verification.artefact.path.is_file():
                verification.artefact.path.unlink()
        result = ExportResult(source.model.id, target.kind, out if passed else None, verifications, gate.trained_exact)
        if passed:
            write_card(staging, source, target, origin, verifications, gate.trained_exact)
            _publish(staging, out)
            artefacts = [verification.to_dict() for verification in verifications]
            store.exports.add(source.model.id, target.kind, out, artefacts)
    return result


def _check_target_folder(out: Path) -> None:
    if out.exists():
        raise ExportError(
            say(f"{out} already exists and is not overwritten: choose another folder with --out.",
                f"{out} 已存在，不会覆盖：请用 --out 指定别的文件夹。"))  # fmt: skip
    if not out.parent.is_dir():
        raise ExportError(say(f"There is no folder {out.parent}.", f"文件夹 {out.parent} 不存在。"))


def _check_disk(out: Path, byte_count: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if byte_count + _RESERVED_BYTES > free:
        needed, available = f"{(byte_count + _RESERVED_BYTES) / 1024**3:.1f} GiB", f"{free / 1024**3:.1f} GiB"
        raise ExportError(
            say(f"The export needs {needed} on the disk of {out.parent}, where {available} are free.",
                f"导出需要 {needed} 磁盘空间，而 {out.parent} 所在磁盘只剩 {available}。"))  # fmt: skip


@contextmanager
def _staging_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, deleted at the end unless it was published. A lock allows one export at a time.

    Raises:
        ExportError: Another export to `out` is running.
    """
    staging = out.with_name(f".{out.name}.part")
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ExportError(
            say(f"Another export to {out} is running.", f"另一个导出到 {out} 的操作正在进行。")
        ) from error
    try:
        shutil.rmtree(staging, ignore_errors=True)  # left by an export that was killed
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _publish(staging: Path, out: Path) -> None:
    """Renames the staging folder to `out`. Files are flushed first, so a power cut leaves all of it or nothing.

    Raises:
        ExportError: `out` was created in the meantime.
    """
    for path in staging.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _check_target_folder(out)
    rename_durably(staging, out)
