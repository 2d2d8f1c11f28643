"""What lies in a repository of Hugging Face or ModelScope, or of a mirror: files, sizes, checksums, addresses.

Both hubs are read over the HTTP that they document, by one client; a mirror is another address for the same. Knows
nothing about which files are wanted.
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
_HUGGING_FACE = "https://huggingface.co"
_BRANCH = {"huggingface": "main", "modelscope": "master"}


@dataclass(frozen=True)
class RemoteFile:
    """`sha256` of its bytes, or `git_sha1` as git names a blob of them; hubs give the one or the other, or neither."""

    path: str
    url: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Repository:
    """`revision`: the commit, where the hub tells it."""

    model: HubModel
    revision: str
    licence: str
    files: list[RemoteFile]


def open_client(settings: Settings, hub: Hub) -> httpx.Client:
    """For one hub. The token goes to the hub's own address only; httpx leaves it out where that redirects elsewhere."""
    endpoint, token = _address(settings, hub)
    if not endpoint.startswith(("http://", "https://")):
        raise BaseModelError(say(f"'{endpoint}' is no address of a hub.", f"“{endpoint}”不是模型站点的地址。"))
    headers = {"user-agent": f"luthier/{__version__}"} | ({"authorization": f"Bearer {token}"} if token else {})
    timeout = httpx.Timeout(60, connect=15)
    return httpx.Client(base_url=endpoint, headers=headers, timeout=timeout, follow_redirects=True)


def _address(settings: Settings, hub: Hub) -> tuple[str, str | None]:
    """What Hugging Face's own tools are told counts too, unless another address is set here: a mirror that only
    Luthier knows of is not sent the token that they keep.
    """
    if hub == "modelscope":
        return settings.modelscope_endpoint, _plain(settings.modelscope_token)
    token = _plain(settings.hub_token)
    if settings.hub_endpoint:
        return settings.hub_endpoint, token
    return os.environ.get("HF_ENDPOINT") or _HUGGING_FACE, token or huggingface_hub.get_token()


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def look(client: httpx.Client, model: HubModel, revision: str | None) -> Repository:
    """Raises BaseModelError that says what to do."""
    asked = revision or _BRANCH[model.hub]
    read = _hugging_face if model.hub == "huggingface" else _model_scope
    try:
        return read(client, model, asked)
    except httpx.HTTPError as error:
        raise trouble(client, model, error) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = say("does not answer as this hub does", "的应答不是这个站点的格式")
        raise BaseModelError(f"{client.base_url} {said}: {type(error).__name__}: {error}") from error


def _hugging_face(client: httpx.Client, model: HubModel, revision: str) -> Repository:
    answer = client.get(f"/api/models/{model.id}/revision/{quote(revision, safe='')}", params={"blobs": "true"})
    answer.raise_for_status()
    said = answer.json()
    commit = str(said["sha"])
    files = []
    for one in said["siblings"]:
        path, lfs = str(one["rfilename"]), one.get("lfs") or {}
        url = f"/{model.id}/resolve/{commit}/{quote(path)}"
        git = None if lfs else one.get("blobId")
        files.append(RemoteFile(path, url, int(one.get("size") or 0), lfs.get("sha256"), git))
    return Repository(model, commit, _licence(said.get("cardData")), files)


def _model_scope(client: httpx.Client, model: HubModel, revision: str) -> Repository:
    answer = client.get(f"/api/v1/models/{model.id}/repo/files", params={"Revision": revision, "Recursive": "true"})
    answer.raise_for_status()
    said = answer.json()
    if said.get("Code", 200) != 200:  # it answers with status 200 and its own code
        status = 404 if not said.get("Success", True) and "not" in str(said.get("Message", "")).lower() else 400
        raise httpx.HTTPStatusError(
            str(said.get("Message")), request=answer.request, response=httpx.Response(status, request=answer.request)
        )
    files = []
    for one in said["Data"]["Files"]:
        if one.get("Type") == "tree":
            continue
        path = str(one["Path"])
        query = urlencode({"Revision": revision, "FilePath": path})
        url = f"/api/v1/models/{model.id}/repo?{query}"
        files.append(RemoteFile(path, url, int(one.get("Size") or 0), one.get("Sha256") or None))
    commit = (said["Data"].get("LatestCommitter") or {}).get("Id") or revision
    return Repository(model, str(commit), "", files)


def _licence(card: Mapping[str, Any] | None) -> str:
    said = (card or {}).get("license_name") or (card or {}).get("license") or ""
    return said if isinstance(said, str) else ", ".join(map(str, said))


def trouble(client: httpx.Client, model: HubModel, error: httpx.HTTPError) -> BaseModelError:
    """What a person can do about an answer that did not come."""
    title, address = _TITLES[model.hub], str(client.base_url).rstrip("/")
    if not isinstance(error, httpx.HTTPStatusError):
        return BaseModelError(_unreachable(model, address, error))
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
                f"{title} ({address}) has no model {model.id} that it shows to "
                f"{'this token' if 'authorization' in client.headers else 'everybody'}. Check the spelling; "
                f"for a private or gated model set {token}.",
                f"{title}（{address}）上没有可见的模型 {model.id}。请检查拼写；私有或需授权的模型请设置 {token}。",
            )
        )
    return BaseModelError(
        say(
            f"{title} ({address}) answered with status {status}. Try again later; what was fetched is kept.",
            f"{title}（{address}）返回状态 {status}。请稍后再试，已下载的部分会保留。",
        )
    )


def _unreachable(model: HubModel, address: str, error: httpx.HTTPError) -> str:
    setting = "LUTHIER_HUB_ENDPOINT" if model.hub == "huggingface" else "LUTHIER_MODELSCOPE_ENDPOINT"
    other = f" modelscope:{model.id}" if model.hub == "huggingface" and not model.file else ""
    why = str(error) or type(error).__name__
    return say(
        f"{address} cannot be reached: {why}. Check the network or the proxy (HTTPS_PROXY); {setting} names a mirror"
        + (f", or try `luthier models pull{other}`" if other else "")
        + ". What was fetched is kept, and the next pull goes on from there.",
        f"无法连接 {address}：{why}。请检查网络或代理（HTTPS_PROXY）；可用 {setting} 指定镜像"
        + (f"，或试试 `luthier models pull{other}`" if other else "")
        + "。已下载的部分会保留，下次从断点继续。",
    )
