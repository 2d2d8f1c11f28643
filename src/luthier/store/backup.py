"""Backups of a data folder, made while servers and workers run on it, and their restoration.

A backup is a folder with the same layout, a database without a write-ahead log, and `backup.json`: the size and the
SHA-256 of every file. A copy of `luthier.db` alone is not a backup: recent commits are in `luthier.db-wal`.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier import __version__
from luthier.language import say
from luthier.store.content import Content
from luthier.store.sqlite_backend import damage_error, opening_error
from luthier.types.common import now
from luthier.types.errors import LuthierError

DATABASE, MANIFEST = "luthier.db", "backup.json"
_FOLDERS = ("files", "uploads", "models", "jobs", "batches")
_LINKABLE = ("files/", "models/")  # content that is never overwritten under the same name

Report = Callable[[int, int], None]  # bytes done, total bytes


@dataclass(frozen=True)
class BackupSummary:
    """`missing`: files of rows in the copied database whose content was no longer in the data folder."""

    folder: str
    files: int
    bytes: int
    missing: list[str]


def back_up(
    data: Path, target: Path, report: Report = lambda done, total: None, *, earlier: Path | None = None
) -> BackupSummary:
    """Copy the data folder to `target`, which must not exist or must be empty; it appears complete or not at all.

    Files are copied before the database and new ones again after it, so that the content of every row is in the copy.
    `earlier`: a backup on the same file system; unchanged files are linked to it and take no additional space, unless
    they are damaged there. Each backup may be deleted without the other.

    Raises:
        LuthierError: `data` has no database or a damaged one, `target` is not empty, or `earlier` is not a backup.
        OSError: An error of the file system.
    """
    if not has_tables(data / DATABASE):
        raise LuthierError(say(f"{data} contains no Luthier database.", f"{data} 中没有 Luthier 的数据库。"))
    linkable = dict(_intact_files(earlier)) if earlier else {}
    partial = _empty_sibling(target)
    try:
        total = sum(path.stat().st_size for path in _content(data)) + (data / DATABASE).stat().st_size
        _copy_new(data, partial, report, total, linkable)
        _copy_database(data / DATABASE, partial / DATABASE)
        _copy_new(data, partial, lambda done, total: None, total, linkable)
        missing = missing_blobs(partial)
        manifest = {path.relative_to(partial).as_posix(): _describe(path) for path in sorted(_all_files(partial))}
        header = {"object": "backup", "luthier": __version__, "created_at": now(), "missing": missing}
        (partial / MANIFEST).write_text(json.dumps({**header, "files": manifest}, indent=1), encoding="utf-8")
        _move_into_place(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return BackupSummary(str(target), len(manifest), sum(int(file["bytes"]) for file in manifest.values()), missing)


def restore(backup: Path, data: Path, report: Report = lambda done, total: None) -> BackupSummary:
    """Copy a backup to the data folder, which must not exist or must be empty, after verifying every checksum.

    Raises:
        LuthierError: `backup` is not a backup or is damaged, or `data` is not empty.
        OSError: An error of the file system.
    """
    manifest = _read_manifest(backup)
    partial = _empty_sibling(data)
    total, done = sum(int(file["bytes"]) for file in manifest["files"].values()), 0
    try:
        partial.chmod(0o700)
        damaged = []
        for name, description in manifest["files"].items():
            source, copy = _inside(backup, name), partial / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not source.is_file():
                damaged.append(name)
                continue
            shutil.copy2(source, copy)
            if _describe(copy) != description:
                damaged.append(name)
            done += int(description["bytes"])
            report(done, total)
        if damaged:
            raise LuthierError(_damaged_text(backup, damaged))
        _move_into_place(partial, data)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return BackupSummary(str(data), len(manifest["files"]), total, list(manifest["missing"]))


def _empty_sibling(target: Path) -> Path:
    """Create a folder beside `target`, to be renamed to it. Raises LuthierError if `target` is not empty."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise LuthierError(
            say(f"{target} is not empty; choose a new folder.", f"{target} 不是空文件夹；请指定一个新文件夹。")
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    return partial


def _move_into_place(partial: Path, target: Path) -> None:
    if target.exists():
        target.rmdir()
    partial.rename(target)


def has_tables(database: Path) -> bool:
    """Whether the file, with its write-ahead log, is a Luthier database. False if it does not exist. Raises
    LuthierError."""
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema'").fetchone())
    except sqlite3.DatabaseError as error:
        raise opening_error(database, error) from error


def _copy_database(source: Path, target: Path) -> None:
    """Make a consistent copy in one file, including the write-ahead log. Raises LuthierError for a damaged database."""
    try:
        with closing(sqlite3.connect(source, timeout=60)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            [problem] = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if problem != "ok":
                raise damage_error(source, problem)
    except sqlite3.DatabaseError as error:
        raise opening_error(source, error) from error
    target.chmod(0o600)


def _content(data: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from _all_files(data / folder)


def _all_files(folder: Path) -> Iterator[Path]:
    """Regular files, except temporary files and locks."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".new-") and path.suffix != ".lock":
            yield path


def _intact_files(backup: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of the linkable files of an earlier backup whose checksums match. Raises LuthierError."""
    for name, description in _read_manifest(backup)["files"].items():
        path = _inside(backup, name)
        if name.startswith(_LINKABLE) and path.is_file() and _describe(path) == description:
            yield name, path


def _copy_new(data: Path, target: Path, report: Report, total: int, linkable: Mapping[str, Path]) -> None:
    """Copy files that the target lacks or has in an earlier state; a file that is deleted meanwhile is skipped.

    `linkable`: files of an earlier backup by name, which are linked instead of copied if they are unchanged.
    """
    done = 0
    for source in _content(data):
        copy = target / source.relative_to(data)
        try:
            if not copy.exists() or _state(copy) != _state(source):
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.unlink(missing_ok=True)  # it may be a link to the earlier backup, which must not change
                _link_or_copy(source, copy, linkable.get(source.relative_to(data).as_posix()))
            done += copy.stat().st_size
        except FileNotFoundError:
            continue
        report(min(done, total), total)


def _link_or_copy(source: Path, copy: Path, earlier: Path | None) -> None:
    """Link `earlier`, on the same file system, if it has the size and modification time of `source`."""
    if earlier and _state(earlier) == _state(source):
        try:
            copy.hardlink_to(earlier)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copy2(source, copy)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, int(status.st_mtime)


def missing_blobs(folder: Path) -> list[str]:
    """Files and models whose content is missing from the data folder, which has an SQLite database.

    Empty if blobs are in a bucket, of which the folder has only copies.
    """
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}  # of any release
        if "bucket_owner" in tables and connection.execute("SELECT 1 FROM bucket_owner").fetchone():
            return []
        file_ids = [row[0] for row in connection.execute("SELECT id FROM files")]
        adapters = [row[0] for row in connection.execute("SELECT adapter FROM models")]
    missing = [f"files/{file_id}" for file_id in file_ids if not (folder / "files" / file_id).exists()]
    return missing + [f"models/{name}" for name in adapters if not (folder / "models" / name).exists()]


def _describe(path: Path) -> dict[str, Any]:
    return Content.of(path)._asdict()


def _read_manifest(backup: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((backup / MANIFEST).read_bytes())
        if manifest["object"] == "backup" and isinstance(manifest["files"], dict):
            return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise LuthierError(
        say(
            f"{backup} is not a backup: it has no readable {MANIFEST}. luthier backup creates one.",
            f"{backup} 不是备份：没有可读的 {MANIFEST}。请用 luthier backup 生成。",
        )
    )


def _inside(folder: Path, name: str) -> Path:
    """Return the path of `name` in the folder. Raises LuthierError for a name that leads out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise LuthierError(
            say(f"{MANIFEST} lists a file outside the backup: {name}", f"{MANIFEST} 列出了备份之外的文件：{name}")
        )
    return path


def _damaged_text(backup: Path, names: list[str]) -> str:
    examples = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return say(
        f"{backup} is damaged: {len(names)} files are missing or differ from their checksums ({examples}). Nothing was "
        "restored.",
        f"{backup} 已损坏：{len(names)} 个文件缺失或校验和不符（{examples}）。未恢复任何内容。",
    )
