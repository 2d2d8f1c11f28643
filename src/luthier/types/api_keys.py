"""API keys as the operator writes them: `KEY` of the whole organization, or `proj_NAME=KEY`."""

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from luthier.language import say

_BOUND_KEY = re.compile(r"(proj_[\w-]+)=(.*)", re.ASCII)
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO


def project_and_key(entry: SecretStr) -> tuple[str | None, str]:
    """Project and key of an entry; the key itself may contain `=`. None: the whole organization."""
    match = _BOUND_KEY.fullmatch(entry.get_secret_value())
    return (match[1], match[2]) if match else (None, entry.get_secret_value())


def check_keys(entries: Sequence[SecretStr]) -> None:
    """Raises ValueError for an invalid entry; the message gives its number, not the key."""
    for number, entry in enumerate(entries, 1):
        project, key = project_and_key(entry)
        if not key:
            raise ValueError(f"key {number} is empty: there is no key after '{project}='")
        if any(other[1] == key and other[0] != project for other in map(project_and_key, entries)):
            raise ValueError(f"key {number} is given twice, with different projects")


def read_key_file(path: Path) -> list[SecretStr]:
    """Read a key file: one entry per line; empty lines and lines that begin with `#` are skipped.

    Raises ValueError for a file that cannot be read, that other users may read, or that contains no key.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            say(f"the key file {path} cannot be read: {error}", f"无法读取密钥文件 {path}：{error}")
        ) from error
    if mode & _OTHERS_MAY_READ:
        raise ValueError(
            say(
                f"the key file {path} has mode {mode:04o}, which gives other users access to the keys; "
                f"run: chmod 600 {path}",
                f"密钥文件 {path} 的权限是 {mode:04o}，其他用户可以访问其中的密钥；请运行：chmod 600 {path}",
            )
        )
    entries = [SecretStr(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        raise ValueError(
            say(
                f"the key file {path} contains no key; write one key per line, or `proj_NAME=KEY`",
                f"密钥文件 {path} 中没有密钥；请每行写一个密钥，或 `proj_NAME=KEY`",
            )
        )
    return entries
