"""Models that the upstream service no longer has, by its own error responses."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from luthier.types.errors import BadRequestError
from luthier.types.strict_json import parse_json

_log = logging.getLogger(__name__)
_RECHECK_S = 600.0  # until the upstream service is asked for the model again
# With status 404: OpenAI's code, and Azure's for deployments.
_UNKNOWN_CODES = {"model_not_found", "deploymentnotfound"}
# With status 400 or 403, where other codes are about the request or the key.
_RETIRED_CODE = re.compile(r"deprecat|retired|decommission|shut_?down|sunset|discontinued|^model_?not_?available$")


class GoneModels:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s: dict[str, float] = {}  # upstream model → time of the next check

    def __contains__(self, model: str) -> bool:
        return self._clock() < self._until_s.get(model, 0.0)

    def add(self, model: str, name: str, successor: str) -> None:
        """`name`: what clients call it. `successor`: the weights that answer from now on."""
        self._until_s[model] = self._clock() + _RECHECK_S
        _log.warning("the upstream service no longer has %s: %s answers for %s", model, successor, name)


def says_gone(status: int, content: bytes) -> bool:
    """Whether an error response is about a model that is gone, rather than about the request, the key or the load.

    A 404 without OpenAI's code for it may be a wrong base URL, so it is not.
    """
    if status == 410:
        return True
    code = _error_code(content)
    if status == 404:
        return code in _UNKNOWN_CODES or bool(_RETIRED_CODE.search(code))
    return status in (400, 403) and bool(_RETIRED_CODE.search(code))


def _error_code(content: bytes) -> str:
    """In lower case; empty for an error that does not have OpenAI's form."""
    try:
        body: Any = parse_json(content)
    except BadRequestError:
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or "").lower() if isinstance(error, dict) else ""
