"""One file of a hub, downloaded or from a copy on this machine, verified against the hub's size and checksum.

Downloads are resumed after interruptions.
"""

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from luthier.catalogue.hubs import RemoteFile
from luthier.language import say
from luthier.types.errors import BaseModelError

Progress = Callable[[str, int, int], None]  # file, downloaded bytes, total bytes
_ATTEMPTS = 5  # in a row without progress
_WAIT_S = 1.0


def download(client: httpx.Client, file: RemoteFile, target: Path, progress: Progress) -> None:
    """Downloads to `target.part` and renames it once its checksum matches; an interrupted download is resumed.

    Raises:
        httpx.HTTPError: the hub is unreachable, after retries with backoff.
        BaseModelError: the file differs from the hub's description.
    """
    partial = target.with_name(target.name + ".part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    attempts = 0
    while partial.stat().st_size < file.size_bytes or not file.size_bytes:
        before = partial.stat().st_size
        try:
            _resume(client, file, partial, progress)
            break
        except httpx.HTTPError as error:
            attempts = 1 if partial.stat().st_size > before else attempts + 1
            if attempts >= _ATTEMPTS or not _is_transient(error):
                raise
            time.sleep(_WAIT_S * attempts)
    _verify(file, partial)
    partial.rename(target)


def place_copy(source: Path, file: RemoteFile, target: Path) -> bool:
    """Places the copy `source` of `file` at `target`. Returns False for other bytes than the hub describes."""
    if _mismatch(file, source):
        return False
    partial = target.with_name(target.name + ".part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    _link_or_copy(source, partial)
    partial.rename(target)
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    """Link or copy a file. Weights become hard links if the file system supports them, which takes no additional
    space; they are never modified."""
    if source.suffix in (".safetensors", ".gguf"):
        with suppress(OSError):
            target.hardlink_to(source.resolve())
            return
    shutil.copyfile(source, target)


def shares_disk(source: Path, folder: Path) -> bool:
    return source.stat().st_dev == folder.stat().st_dev


def _is_transient(error: httpx.HTTPError) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return not isinstance(error, httpx.UnsupportedProtocol)


def _resume(client: httpx.Client, file: RemoteFile, partial: Path, progress: Progress) -> None:
    done = partial.stat().st_size
    # No transfer compression: ranges and checksums refer to the stored bytes.
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={done}-"} if done else {})
    with client.stream("GET", file.url, headers=headers) as response:
        if response.status_code == 416:  # the partial file is longer than the remote one
            partial.unlink()
            partial.touch()
            raise httpx.ReadError("the partial file does not belong to this file", request=response.request)
        response.raise_for_status()
        if response.status_code != 206:  # no range support: from the start
            done = 0
        with partial.open("ab" if done else "wb") as output:
            for chunk in response.iter_raw():
                output.write(chunk)
                done += len(chunk)
                progress(file.path, done, file.size_bytes)
    if file.size_bytes and done < file.size_bytes:
        raise httpx.ReadError(f"{file.path} was cut off after {done:,} bytes", request=response.request)


def _verify(file: RemoteFile, partial: Path) -> None:
    """Raises BaseModelError, and deletes the file, if size or checksum differ."""
    mismatch = _mismatch(file, partial)
    if mismatch:
        partial.unlink()
        raise BaseModelError(
            say(
                f"{file.path} is not the file that the hub describes ({mismatch}). It was deleted; pull again, or use "
                "another mirror.",
                f"{file.path} 与站点所描述的文件不符（{mismatch}）。已删除，请重新获取，或换一个镜像。",
            )
        )


def _mismatch(file: RemoteFile, partial: Path) -> str:
    size = partial.stat().st_size
    if file.size_bytes and size != file.size_bytes:
        return f"{size:,} bytes, expected {file.size_bytes:,}"
    if file.sha256:
        with partial.open("rb") as content:
            actual, expected = hashlib.file_digest(content, "sha256").hexdigest(), file.sha256
    elif file.git_sha1:
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        digest.update(partial.read_bytes())
        actual, expected = digest.hexdigest(), file.git_sha1
    else:
        return ""
    kind = "sha256" if file.sha256 else "git sha1"
    return f"{kind} {actual}, expected {expected}" if actual != expected else ""
