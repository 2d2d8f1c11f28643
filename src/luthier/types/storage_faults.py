"""Faults of disk, database and bucket that end by themselves, or once somebody has made room."""

import errno
from typing import Literal, NamedTuple

from luthier.types.errors import LuthierError

FaultKind = Literal["full", "read_only", "failing", "locked", "unreachable"]
_KIND_OF_NUMBER: dict[int, FaultKind] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EIO: "failing",
}


class FaultTexts(NamedTuple):
    """In English and Chinese. `remedy` is what a person can do."""

    reason: tuple[str, str]
    remedy: tuple[str, str]


STORAGE_FAULTS: dict[FaultKind, FaultTexts] = {
    "full": FaultTexts(
        ("the disk is full", "磁盘已满"),
        (
            "Free some space (luthier prune lists what can be deleted)",
            "请腾出空间（luthier prune 会列出可以删除的内容）",
        ),
    ),
    "read_only": FaultTexts(("the disk is read-only", "磁盘只读"), ("Make it writable", "请使其可写")),
    "failing": FaultTexts(
        ("the disk reports errors", "磁盘读写出错"),
        ("The system's log says what is wrong with it", "系统日志会说明磁盘出了什么问题"),
    ),
    "locked": FaultTexts(
        ("another program has locked the database", "数据库被其他程序锁定"), ("End that program", "请结束该程序")
    ),
    "unreachable": FaultTexts(
        ("the database or the bucket cannot be reached", "无法连接数据库或存储桶"),
        ("Make sure that it can be reached", "请确认其可以访问"),
    ),
}


class StorageFaultError(LuthierError):
    """A fault that another process met."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def disk_fault(error: BaseException) -> FaultKind | None:
    """Of an error of the operating system; None for other ones."""
    return _KIND_OF_NUMBER.get(error.errno or 0) if isinstance(error, OSError) else None
