"""An account behind OpenAI's API: paginated lists, retries with Retry-After, and classified errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

import openai

from luthier.generate.retries import MAX_ATTEMPTS, error_message, is_permanent, retry_delay_s

if TYPE_CHECKING:
    from openai import BaseModel

T = TypeVar("T")
Provider = Literal["openai", "azure", "other"]
PAGE_SIZE = 100
_FIRST_ATTEMPTS = 2  # attempts until the address has answered once, since it may be wrong
_ABSENT_STATUSES = (404, 405, 501)
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".openai.azure.us")
_GONE_CODES = ("model_not_found", "DeploymentNotFound", "model_deprecated", "deployment_not_found")


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the account that could not be read, with the status, code and message of the error."""

    area: str
    status: int | None
    code: str | None
    message: str

    @property
    def is_absent(self) -> bool:
        """Whether the service does not offer this part at all, whatever the key."""
        return self.status in _ABSENT_STATUSES


def gap(area: str, error: openai.APIError) -> Gap:
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    return Gap(area, status, error.code if isinstance(error.code, str) else None, error_message(error))


def provider_of(base_url: str) -> Provider:
    """The service at an address, as far as its host name tells."""
    host = (urlsplit(base_url).hostname or "").lower()
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return "openai"
    return "azure" if host.endswith(_AZURE_HOSTS) else "other"


def is_model_gone(error: openai.APIError) -> bool:
    """Whether a request failed because the model was switched off or deleted, or is not available to the project."""
    if not isinstance(error, openai.APIStatusError):
        return False
    return error.status_code in (404, 410) or error.code in _GONE_CODES


class Account:
    """Sends requests to an account. Not thread-safe: it belongs to one event loop."""

    def __init__(self, client: openai.AsyncOpenAI, *, concurrency: int = 8) -> None:
        self.client = client.with_options(max_retries=0)
        self.base_url = str(client.base_url)
        self.provider = provider_of(self.base_url)
        self.places = asyncio.Semaphore(concurrency)
        self._is_reached = False

    async def call(self, request: Callable[[], Awaitable[T]]) -> T:
        """The result of a request that costs nothing. Rate limits and other transient errors are retried.

        Raises:
            openai.APIError: A permanent error, or the last of several transient ones.
        """
        for attempt in range(MAX_ATTEMPTS):
            try:
                async with self.places:
                    response = await request()
            except openai.APIError as error:
                self._is_reached |= isinstance(error, openai.APIStatusError)
                attempts = MAX_ATTEMPTS if self._is_reached else _FIRST_ATTEMPTS
                if attempt >= attempts - 1 or is_permanent(error):
                    raise
                await asyncio.sleep(retry_delay_s(error, attempt, random.random()))  # noqa: S311 - jitter
            else:
                self._is_reached = True
                return response
        raise AssertionError("unreachable")

    async def pages(
        self, list_page: Callable[..., Awaitable[Any]], **query: Any
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The pages of a list, each as JSON objects. A repeated cursor ends the list."""
        cursors: set[str] = set()
        after: str | None = None
        while True:
            cursor = {"after": after} if after else {}
            page = await self.call(lambda cursor=cursor: list_page(**query, **cursor, limit=PAGE_SIZE))  # type: ignore[misc]
            entries = [to_json(entry) for entry in page.data or []]
            yield entries
            after = entries[-1].get("id") if entries else None
            if not after or not getattr(page, "has_more", False) or after in cursors:
                return
            cursors.add(after)

    async def list_all(self, list_page: Callable[..., Awaitable[Any]], **query: Any) -> list[dict[str, Any]]:
        return [entry async for page in self.pages(list_page, **query) for entry in page]


def to_json(value: BaseModel) -> dict[str, Any]:
    """The object as the service sent it, including unknown keys."""
    return value.to_dict(mode="json", warnings=False)
