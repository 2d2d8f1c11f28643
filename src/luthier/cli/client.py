"""From options to an `openai.OpenAI` client that has a server behind it.

    --base-url or OPENAI_BASE_URL             that server, whoever runs it
    else --data, LUTHIER_DATA or the default  the server running on that folder, else an embedded one

What was typed wins over what the environment says. Knows nothing about how a server is started; the embedded one is
imported only when it is needed.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from luthier.cli.errors import Trouble, explained
from luthier.cli.options import Options
from luthier.language import say

if TYPE_CHECKING:
    import openai

PLACEHOLDER_KEY = "luthier"


@dataclass(frozen=True)
class Connection:
    """A client and what is behind it: `embedded` servers end with the command, `data` is the folder asked for."""

    client: openai.OpenAI
    address: str
    embedded: bool
    data: Path | None


@contextmanager
def open_client(options: Options) -> Iterator[openai.OpenAI]:
    """The client alone, for commands that need not know what is behind it."""
    with open_connection(options) as connection:
        yield connection.client


@contextmanager
def open_connection(options: Options) -> Iterator[Connection]:
    """A client for as long as the context lasts; inside it, the client's exceptions become `Trouble`."""
    with ExitStack() as stack:
        if names_a_server(options):
            address, embedded = _address(options.base_url or ""), False
            key = options.api_key or _placeholder(address)
        else:
            address, key, embedded = _local_server(options, stack)
        stack.enter_context(explained(address))
        client = stack.enter_context(new_client(address, key))
        yield Connection(client, address, embedded, options.data)


def same_server(options: Options) -> str:
    """The options that lead the next command to the same server; what the environment says needs no repeating."""
    flags = ""
    if names_a_server(options) and "base_url" in options.typed:
        flags += f" --base-url {shlex.quote(str(options.base_url))}"
    elif "data" in options.typed:
        flags += f" --data {shlex.quote(str(options.data))}"
    return flags


def new_client(address: str, key: str) -> openai.OpenAI:
    """A client for `address`. One for this machine ignores proxies: HTTP_PROXY is meant for other machines."""
    import openai

    if is_loopback(address):
        return openai.OpenAI(base_url=address, api_key=key, http_client=openai.DefaultHttpxClient(trust_env=False))
    return openai.OpenAI(base_url=address, api_key=key)


def new_async_client(client: openai.OpenAI, timeout_s: float) -> openai.AsyncOpenAI:
    """For many requests at once to the same server; of one request no more than `timeout_s`."""
    import openai

    address, key = str(client.base_url), client.api_key
    if is_loopback(address):
        web = openai.DefaultAsyncHttpxClient(trust_env=False)
        return openai.AsyncOpenAI(base_url=address, api_key=key, http_client=web, timeout=timeout_s)
    return openai.AsyncOpenAI(base_url=address, api_key=key, timeout=timeout_s)


def is_loopback(address: str) -> bool:
    """Whether the URL names this machine."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_a_server(options: Options) -> bool:
    """Whether the options name one; a typed --data is not overruled by an address that only the environment names."""
    return bool(options.base_url) and not ("data" in options.typed and "base_url" not in options.typed)


def _local_server(options: Options, stack: ExitStack) -> tuple[str, str, bool]:
    """(base URL, key, embedded). OPENAI_API_KEY is not used here: it belongs to the service that it was made for."""
    from luthier.cli.output import working
    from luthier.runtime import running_or_embedded

    with working(say("Looking for a server, or starting one …", "正在连接或启动服务器……")):
        endpoint = stack.enter_context(running_or_embedded(options.data))
    typed_key = options.api_key if "api_key" in options.typed else None
    return endpoint.base_url, typed_key or endpoint.api_key, endpoint.embedded


def _address(text: str) -> str:
    """`localhost:8000` means `http://localhost:8000/v1`; an address with a path is taken as it stands."""
    if "://" not in text:
        text = ("http://" if is_loopback(f"http://{text}") else "https://") + text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Trouble(
            say(f"{text} is not the address of a server.", f"{text} 不是服务器地址。"),
            say("An address looks like http://127.0.0.1:8000/v1.", "地址形如 http://127.0.0.1:8000/v1。"),
        )
    return f"{parts.scheme}://{parts.netloc}/v1" if parts.path in ("", "/") else text


def _placeholder(address: str) -> str:
    if is_loopback(address):
        return PLACEHOLDER_KEY
    raise Trouble(
        say(f"{address} needs a key.", f"{address} 需要密钥。"),
        say("Pass it with --api-key or OPENAI_API_KEY.", "用 --api-key 或 OPENAI_API_KEY 给出。"),
    )
