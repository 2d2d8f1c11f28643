"""Connects the `openai.OpenAI` client to the server that the options select.

    --base-url or OPENAI_BASE_URL             that server
    else --data, LUTHIER_DATA or the default  the server running on that data folder, else an embedded server

Options on the command line take precedence over environment variables. The embedded server is imported only when it is
needed.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from luthier.cli.errors import ADDRESS_HINT, CliError, client_errors_translated
from luthier.cli.options import Options
from luthier.language import say

if TYPE_CHECKING:
    import openai
    from openai import BaseModel

PLACEHOLDER_KEY = "luthier"


@dataclass(frozen=True)
class Connection:
    """A client and its server.

    Attributes:
        address: The server's base URL.
        embedded: Whether the server runs in this process and ends with the command.
        data: The data folder of --data; None if it was not given.
    """

    client: openai.OpenAI
    address: str
    embedded: bool
    data: Path | None


@contextmanager
def open_client(options: Options) -> Iterator[openai.OpenAI]:
    """The client of `open_connection`, for commands that need nothing else from it."""
    with open_connection(options) as connection:
        yield connection.client


@contextmanager
def open_connection(options: Options) -> Iterator[Connection]:
    """A connection for the duration of the context, in which the client's exceptions become `CliError`."""
    with ExitStack() as stack:
        if has_server_address(options):
            address, embedded = server_address(options), False
            key = server_key(options, address)
        else:
            address, key, embedded = _local_server(options, stack)
        stack.enter_context(client_errors_translated(address))
        client = stack.enter_context(new_client(address, key))
        yield Connection(client, address, embedded, options.data)


def call(options: Options, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Calls a route that the `openai` client has no method for, and returns its JSON; `path` begins with `/luthier`."""
    import httpx

    with open_client(options) as client:
        arguments = {"body": body} if body is not None else {}
        response: httpx.Response = getattr(client, method)(path, cast_to=httpx.Response, **arguments)
    document: dict[str, Any] = response.json()
    return document


def check_kind(client: openai.OpenAI, listed: Sequence[BaseModel], kind: str) -> None:
    """Raises CliError if `listed` has objects of another kind; some services answer every path with their models."""
    for listed_object in listed:
        if getattr(listed_object, "object", None) != kind:
            raise CliError(
                say(f"{client.base_url} does not list objects of the kind {kind}.",
                    f"{client.base_url} 返回的不是 {kind} 类型的对象。"), say(*ADDRESS_HINT))  # fmt: skip


def server_flags(options: Options) -> str:
    """The flags that select the same server in another command, each with a leading space."""
    flags = ""
    if has_server_address(options) and "base_url" in options.on_command_line:
        flags += f" --base-url {shlex.quote(str(options.base_url))}"
    elif "data" in options.on_command_line:
        flags += f" --data {shlex.quote(str(options.data))}"
    return flags


def new_client(address: str, key: str) -> openai.OpenAI:
    """A client for the base URL `address`, which ignores proxies (HTTP_PROXY) if that is a loopback address."""
    import openai

    if is_loopback(address):
        return openai.OpenAI(base_url=address, api_key=key, http_client=openai.DefaultHttpxClient(trust_env=False))
    return openai.OpenAI(base_url=address, api_key=key)


def new_async_client(client: openai.OpenAI, timeout_s: float) -> openai.AsyncOpenAI:
    """An asynchronous client for the same server; `timeout_s` is the limit of each request."""
    import openai

    address, key = str(client.base_url), client.api_key
    if is_loopback(address):
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False)
        return openai.AsyncOpenAI(base_url=address, api_key=key, http_client=http_client, timeout=timeout_s)
    return openai.AsyncOpenAI(base_url=address, api_key=key, timeout=timeout_s)


def is_loopback(address: str) -> bool:
    """Whether the host of a URL is a loopback address."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def has_server_address(options: Options) -> bool:
    """Whether the options give a server address. --data on the command line overrides OPENAI_BASE_URL."""
    typed = options.on_command_line
    return bool(options.base_url) and not ("data" in typed and "base_url" not in typed)


def _local_server(options: Options, stack: ExitStack) -> tuple[str, str, bool]:
    """The local server's base URL and API key, and whether it is embedded.

    OPENAI_API_KEY is ignored, since it belongs to another service.
    """
    from luthier.cli.output import spinner
    from luthier.runtime import running_or_embedded

    with spinner(say("Connecting to a server, or starting one …", "正在连接或启动服务器……")):
        endpoint = stack.enter_context(running_or_embedded(options.data))
    api_key = options.api_key if "api_key" in options.on_command_line else None
    return endpoint.base_url, api_key or endpoint.api_key, endpoint.embedded


def server_address(options: Options, default: str = "") -> str:
    """The base URL that the options give, else `default`.

    `localhost:8000` is completed to `http://localhost:8000/v1`; an address with a path stays as it is.

    Raises:
        CliError: The text is not an address.
    """
    text = options.base_url or default
    if "://" not in text:
        text = ("http://" if is_loopback(f"http://{text}") else "https://") + text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(
            say(f"{text} is not a server address.", f"{text} 不是服务器地址。"),
            say("Example of an address: http://127.0.0.1:8000/v1", "地址示例：http://127.0.0.1:8000/v1"),
        )
    return f"{parts.scheme}://{parts.netloc}/v1" if parts.path in ("", "/") else text


def server_key(options: Options, address: str) -> str:
    """The API key that the options give, or a placeholder for a server on this machine.

    Raises:
        CliError: A server on another machine needs a key, and none is given.
    """
    if options.api_key:
        return options.api_key
    if is_loopback(address):
        return PLACEHOLDER_KEY
    raise CliError(
        say(f"{address} requires an API key.", f"{address} 需要 API 密钥。"),
        say("Set it with --api-key or OPENAI_API_KEY.", "用 --api-key 或 OPENAI_API_KEY 给出。"),
    )
