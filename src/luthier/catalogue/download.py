"""One file over HTTP: gone on with where it broke off, checked against what the hub says of it.

Knows nothing about hubs; `progress` hears of every piece.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from luthier.catalogue.hubs import RemoteFile
from luthier.language import say
from luthier.types.errors import BaseModelError

Progress = Callable[[str, int, int], None]  # the file, bytes that are here, bytes in all
_ATTEMPTS = 5  # in a row without a byte more
_WAIT_S = 1.0


def download(client: httpx.Client, file: RemoteFile, target: Path, progress: Progress) -> None:
    """`target` appears when its checksum is right; until then its bytes lie beside it, for the next try.

    Raises httpx.HTTPError when the hub does not answer, BaseModelError when it sends other bytes than it says.
    """
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    attempts = 0
    while part.stat().st_size < file.size_bytes or not file.size_bytes:
        before = part.stat().st_size
        try:
            _go_on(client, file, part, progress)
            break
        except httpx.HTTPError as error:
            attempts = 1 if part.stat().st_size > before else attempts + 1
            if attempts >= _ATTEMPTS or not _passes(error):
                raise
            time.sleep(_WAIT_S * attempts)
    _check(file, part)
    part.rename(target)


def _passes(error: httpx.HTTPError) -> bool:
    """Whether trying again may help."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return not isinstance(error, httpx.UnsupportedProtocol)


def _go_on(client: httpx.Client, file: RemoteFile, part: Path, progress: Progress) -> None:
    done = part.stat().st_size
    # What is stored is what is checked: no compression on the way.
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={done}-"} if done else {})
    with client.stream("GET", file.url, headers=headers) as answer:
        if answer.status_code == 416:  # what is here is longer than the file
            part.unlink()
            part.touch()
            raise httpx.ReadError("the part that was here is no part of the file", request=answer.request)
        answer.raise_for_status()
        if answer.status_code != 206:  # no ranges here: from the start
            done = 0
        with part.open("ab" if done else "wb") as out:
            for piece in answer.iter_raw():
                out.write(piece)
                done += len(piece)
                progress(file.path, done, file.size_bytes)
    if file.size_bytes and done < file.size_bytes:
        raise httpx.ReadError(f"{file.path} broke off after {done:,} bytes", request=answer.request)


def _check(file: RemoteFile, part: Path) -> None:
    """Raises BaseModelError with nothing kept."""
    size = part.stat().st_size
    wrong = ""
    if file.size_bytes and size != file.size_bytes:
        wrong = f"{size:,} bytes, expected {file.size_bytes:,}"
    elif file.sha256:
        with part.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        wrong = f"sha256 {found}, expected {file.sha256}" if found != file.sha256 else ""
    elif file.git_sha1:
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        digest.update(part.read_bytes())
        wrong = (
            f"git sha1 {digest.hexdigest()}, expected {file.git_sha1}" if digest.hexdigest() != file.git_sha1 else ""
        )
    if wrong:
        part.unlink()
        raise BaseModelError(
            say(
                f"{file.path} is not the file that the hub describes ({wrong}). It was deleted; pull again, or use "
                "another mirror.",
                f"{file.path} 与站点所描述的文件不符（{wrong}）。已删除，请重新获取，或换一个镜像。",
            )
        )
