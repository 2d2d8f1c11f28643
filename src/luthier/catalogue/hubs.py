"""Repositories of Hugging Face, ModelScope and their mirrors: files, sizes, checksums, download URLs.

Both hubs are read through their documented HTTP APIs; a mirror is another endpoint of the same API.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import huggingface_hub
from pydantic import SecretStr

from luthier import __version__
from luthier.catalogue.model_spec import Hub, HubModel
from luthier.language import say
from luthier.settings import Settings
from luthier.types.errors import BaseModelError

_TITLES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_HUGGING_FACE_ENDPOINT = "https://huggingface.co"
_DEFAULT_BRANCHES = {"huggingface": "main", "modelscope": "master"}


@dataclass(frozen=True)
class RemoteFile:
    """A file and its checksum, as far as the hub has one: `sha256` of the bytes, or the git blob id `git_sha1`."""

    path: str
    url: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Repository:
    """A model's files at one commit (`revision`)."""

    model: HubModel
    revision: str
    licence: str
    files: list[RemoteFile]


def open_client(settings: Settings, hub: Hub) -> httpx.Client:
    """HTTP client of one hub. The token is sent to its endpoint only: httpx drops it on redirects to other hosts."""
    endpoint, token = _endpoint(settings, hub)
    if not endpoint.startswith(("http://", "https://")):
        raise BaseModelError(say(f"'{endpoint}' is not the URL of a hub.", f"“{endpoint}”不是模型站点的地址。"))
    headers = {"user-agent": f"luthier/{__version__}"} | ({"authorization": f"Bearer {token}"} if token else {})
    timeout = httpx.Timeout(60, connect=15)
    return httpx.Client(base_url=endpoint, headers=headers, timeout=timeout, follow_redirects=True)


def _endpoint(settings: Settings, hub: Hub) -> tuple[str, str | None]:
    """Endpoint and token. HF_ENDPOINT and the token of Hugging Face's own tools are the defaults.

    An endpoint of Luthier's settings, such as a mirror, is never sent the token of those tools.
    """
    if hub == "modelscope":
        return settings.modelscope_endpoint, _reveal(settings.modelscope_token)
    token = _reveal(settings.hub_token)
    if settings.hub_endpoint:
        return settings.hub_endpoint, token
    return os.environ.get("HF_ENDPOINT") or _HUGGING_FACE_ENDPOINT, token or huggingface_hub.get_token()


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def read_repository(client: httpx.Client, model: HubModel, revision: str | None) -> Repository:
    """The files of `model` at `revision` (None: the default branch). Raises BaseModelError."""
    read = _read_hugging_face if model.hub == "huggingface" else _read_model_scope
    try:
        return read(client, model, revision or _DEFAULT_BRANCHES[model.hub])
    except httpx.HTTPError as error:
        raise hub_error(client, model, error) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise BaseModelError(
            say(
                f"{client.base_url} did not answer in this hub's format: {cause}",
                f"{client.base_url} 的应答不是这个站点的格式：{cause}",
            )
        ) from error


def _read_hugging_face(client: httpx.Client, model: HubModel, revision: str) -> Repository:
    response = client.get(f"/api/models/{model.id}/revision/{quote(revision, safe='')}", params={"blobs": "true"})
    response.raise_for_status()
    body = response.json()
    commit = str(body["sha"])
    files = []
    for entry in body["siblings"]:
        path, lfs = str(entry["rfilename"]), entry.get("lfs") or {}
        url = f"/{model.id}/resolve/{commit}/{quote(path)}"
        git_sha1 = None if lfs else entry.get("blobId")
        files.append(RemoteFile(path, url, int(entry.get("size") or 0), lfs.get("sha256"), git_sha1))
    return Repository(model, commit, _licence(body.get("cardData")), files)


def _read_model_scope(client: httpx.Client, model: HubModel, revision: str) -> Repository:
    response = client.get(f"/api/v1/models/{model.id}/repo/files", params={"Revision": revision, "Recursive": "true"})
    response.raise_for_status()
    body = response.json()
    if body.get("Code", 200) != 200:  # ModelScope sends errors with status 200 and a code of its own
        message, request = str(body.get("Message")), response.request
        status = 404 if not body.get("Success", True) and "not" in message.lower() else 400
        raise httpx.HTTPStatusError(message, request=request, response=httpx.Response(status, request=request))
    files = []
    for entry in body["Data"]["Files"]:
        if entry.get("Type") == "tree":
            continue
        path = str(entry["Path"])
        query = urlencode({"Revision": revision, "FilePath": path})
        url = f"/api/v1/models/{model.id}/repo?{query}"
        files.append(RemoteFile(path, url, int(entry.get("Size") or 0), entry.get("Sha256") or None))
    commit = (body["Data"].get("LatestCommitter") or {}).get("Id") or revision
    return Repository(model, str(commit), "", files)


def _licence(card: Mapping[str, Any] | None) -> str:
    licence = (card or {}).get("license_name") or (card or {}).get("license") or ""
    return licence if isinstance(licence, str) else ", ".join(map(str, licence))


def hub_error(client: httpx.Client, model: HubModel, error: httpx.HTTPError) -> BaseModelError:
    """The error of a failed request, with its remedy."""
    title, endpoint = _TITLES[model.hub], str(client.base_url).rstrip("/")
    if not isinstance(error, httpx.HTTPStatusError):
        return BaseModelError(_unreachable(model, endpoint, error))
    status, code = error.response.status_code, error.response.headers.get("x-error-code", "")
    token = "LUTHIER_HUB_TOKEN" if model.hub == "huggingface" else "LUTHIER_MODELSCOPE_TOKEN"
    if code == "GatedRepo" or (status == 403 and code != "RepoNotFound"):
        return BaseModelError(
            say(
                f"{model.id} is gated: accept its licence on its page at {title} with your account, then set {token} "
                "to a token of that account and pull again.",
                f"{model.id} 需要授权：请先用你的账号在 {title} 的模型页面上同意其许可，再把 {token} 设为该账号的令牌，"
                "然后重新获取。",
            )
        )
    if status in (401, 404):
        return BaseModelError(
            say(
                f"{title} ({endpoint}) shows no model {model.id} "
                f"{'with this token' if 'authorization' in client.headers else 'without a token'}. Check the spelling; "
                f"for a private or gated model set {token}.",
                f"{title}（{endpoint}）上没有可见的模型 {model.id}。请检查拼写；私有或需授权的模型请设置 {token}。",
            )
        )
    return BaseModelError(
        say(
            f"{title} ({endpoint}) returned status {status}. Try again later; downloaded files are kept.",
            f"{title}（{endpoint}）返回状态 {status}。请稍后再试，已下载的部分会保留。",
        )
    )


def _unreachable(model: HubModel, endpoint: str, error: httpx.HTTPError) -> str:
    setting = "LUTHIER_HUB_ENDPOINT" if model.hub == "huggingface" else "LUTHIER_MODELSCOPE_ENDPOINT"
    alternative = f" modelscope:{model.id}" if model.hub == "huggingface" and not model.file else ""
    cause = str(error) or type(error).__name__
    return say(
        f"{endpoint} cannot be reached: {cause}. Check the network or the proxy (HTTPS_PROXY); {setting} names a mirror"
        + (f", or try `luthier models pull{alternative}`" if alternative else "")
        + ". Downloaded files are kept, and the next pull resumes there.",
        f"无法连接 {endpoint}：{cause}。请检查网络或代理（HTTPS_PROXY）；可用 {setting} 指定镜像"
        + (f"，或试试 `luthier models pull{alternative}`" if alternative else "")
        + "。已下载的部分会保留，下次从断点继续。",
    )
