"""The cache of Hugging Face's own tools on this machine, whose files are not downloaded again.

Snapshots are links to blobs, which are named after the checksum that the hub gave: SHA-256, or git's for small files.
"""

import re
from pathlib import Path

import huggingface_hub

from luthier.catalogue.hubs import RemoteFile, Repository
from luthier.catalogue.licence import licence_of
from luthier.catalogue.model_spec import HubModel
from luthier.language import say
from luthier.types.errors import BaseModelError

_SHA256, _SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


def cached_file(model: HubModel, revision: str | None, path: str) -> Path | None:
    """The file `path` of `model` in the cache, at a commit, branch or tag (None: `main`)."""
    if model.hub != "huggingface":
        return None
    cached = huggingface_hub.try_to_load_from_cache(model.id, path, revision=revision)
    return Path(cached) if isinstance(cached, str) else None  # a constant means that the hub has no such file


def is_offline(model: HubModel) -> bool:
    """Whether HF_HUB_OFFLINE forbids contacting the hub of `model`."""
    return model.hub == "huggingface" and bool(huggingface_hub.constants.is_offline_mode())


def cached_repository(model: HubModel, revision: str | None) -> Repository:
    """The cached files of `model`, without contacting the hub. Raises BaseModelError."""
    name = model.file or "config.json"
    path = cached_file(model, revision, name)
    if path is None:
        cache = huggingface_hub.constants.HF_HUB_CACHE
        raise BaseModelError(
            say(
                f"HF_HUB_OFFLINE is set, and Hugging Face's cache ({cache}) has no {name} of {model.id} at "
                f"{revision or 'main'}. Unset it, or pull a folder: luthier models pull ./FOLDER",
                f"已设置 HF_HUB_OFFLINE，而 Hugging Face 的缓存（{cache}）里没有 {model.id} 在 {revision or 'main'} 的 "
                f"{name}。请取消该设置，或获取一个文件夹：luthier models pull ./FOLDER",
            )
        )
    snapshot = path.parents[name.count("/")]
    files = [_describe(snapshot, file) for file in snapshot.rglob("*") if file.is_file()]
    return Repository(model, snapshot.name, licence_of(snapshot), files)


def _describe(snapshot: Path, file: Path) -> RemoteFile:
    """A file of the snapshot, without an address."""
    checksum = file.readlink().name if file.is_symlink() else ""
    return RemoteFile(
        file.relative_to(snapshot).as_posix(),
        "",
        file.stat().st_size,
        sha256=checksum if _SHA256.fullmatch(checksum) else None,
        git_sha1=checksum if _SHA1.fullmatch(checksum) else None,
    )
