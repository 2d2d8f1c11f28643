"""Tracks the models that the upstream service still has, by its error responses and shutdown dates."""

import asyncio
import datetime as dt
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import httpx

from luthier.types.errors import BadRequestError
from luthier.types.strict_json import parse_json

_log = logging.getLogger(__name__)
_RECHECK_S = 600.0  # until the upstream service is asked again for a model that it did not have
_DATES_REFRESH_S = 6 * 3600.0
# With status 404: OpenAI's code, and Azure's for deployments.
_UNKNOWN_CODES = {"model_not_found", "deploymentnotfound"}
# With status 400 or 403, where other codes are about the request or the key.
_RETIRED_CODE = re.compile(r"deprecat|retired|decommission|shut_?down|sunset|discontinued|^model_?not_?available$")


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


class UpstreamModels:
    def __init__(self, clock: Callable[[], float] = time.monotonic, today: Callable[[], dt.date] = _today) -> None:
        self._clock, self._today = clock, today
        self._gone_until_s: dict[str, float] = {}  # by model
        self._dates: dict[str, dt.date] = {}  # by model
        self._reported: set[str] = set()  # models whose shutdown was logged

    def is_gone(self, model: str) -> bool:
        """Whether the model was recently reported as gone, or its shutdown date has passed."""
        last_day = self._dates.get(model)
        if last_day is None or self._today() <= last_day:
            return self._clock() < self._gone_until_s.get(model, 0.0)
        if model not in self._reported:
            self._reported.add(model)
            _log.warning("the upstream service switched %s off on %s: its successor answers", model, last_day)
        return True

    def report_gone(self, model: str, name: str, successor: str) -> None:
        """Record that a model is gone. `name`: its name for clients. `successor`: the weights that answer from now
        on."""
        self._gone_until_s[model] = self._clock() + _RECHECK_S
        _log.warning("the upstream service no longer has %s: %s answers for %s", model, successor, name)

    def shutdown_date(self, model: str) -> dt.date | None:
        return self._dates.get(model)

    async def follow_dates(self, client: httpx.AsyncClient, models: Iterable[str]) -> None:
        """Read the dates now and every few hours, since services change them; runs until it is cancelled."""
        while True:
            for model in models:
                date = await _shutdown_date(client, model)
                if date is not None:
                    self._dates[model] = date
            await asyncio.sleep(_DATES_REFRESH_S)


async def _shutdown_date(client: httpx.AsyncClient, model: str) -> dt.date | None:
    """The `shutdown_date` of the model object; a fine-tuned model without one has that of its base."""
    for name in [model, *model.split(":")[1:2]] if model.startswith("ft:") else [model]:
        try:
            response = await client.get(f"/models/{quote(name, safe=':')}")
            body = parse_json(response.content) if response.is_success else None
            if isinstance(body, dict) and body.get("shutdown_date"):
                return dt.date.fromisoformat(str(body["shutdown_date"])[:10])
        except (httpx.HTTPError, httpx.InvalidURL, BadRequestError, ValueError) as error:
            _log.info("the upstream service names no shutdown date of %s: %s", name, type(error).__name__)
    return None


def says_gone(status: int, content: bytes) -> bool:
    """Whether an error response is about a model that is gone, rather than about the request, the key or the load.

    A 404 without OpenAI's code may come from a wrong base URL, so it does not count.
    """
    if status == 410:
        return True
    code = _error_code(content)
    if status == 404:
        return code in _UNKNOWN_CODES or bool(_RETIRED_CODE.search(code))
    return status in (400, 403) and bool(_RETIRED_CODE.search(code))


def _error_code(content: bytes) -> str:
    """The error's code in lower case; empty for an error that does not have OpenAI's format."""
    try:
        body: Any = parse_json(content)
    except BadRequestError:
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or "").lower() if isinstance(error, dict) else ""
