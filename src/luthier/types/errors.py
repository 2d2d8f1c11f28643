"""The one error tree. Every error that a caller may see is one of these.

    LuthierError
    ├── APIError                  answered over HTTP with OpenAI's four-key body
    │   ├── BadRequestError       400
    │   ├── AuthenticationError   401
    │   ├── PermissionDeniedError 403
    │   ├── NotFoundError         404
    │   ├── ConflictError         409
    │   ├── PayloadTooLargeError  413
    │   ├── RateLimitError        429
    │   └── UnavailableError      503
    ├── JobError                  ends a fine-tuning job as `failed`, with code, message and param
    ├── BaseModelError            a base model cannot be found, fetched or loaded
    └── RenderError               an example or a request cannot be turned into tokens

    FutureWarning
    └── RenamedSettingWarning     a setting given under its former name, which still works

Statuses follow what OpenAI's clients do with them: they retry 408, 409, 429 and 5xx, so nothing permanent is
answered with one of those.
"""

from collections.abc import Mapping
from typing import Any


class LuthierError(Exception):
    """Something went wrong that a person can act on; the message says what and how."""


class APIError(LuthierError):
    """An error as OpenAI's clients read it: `message`, `type`, `param` and `code`."""

    status = 500
    type = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.headers = message, param, code, headers or {}

    def body(self) -> dict[str, Any]:
        """The response body: all four keys are required by OpenAI's schema."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequestError(APIError):
    status, type = 400, "invalid_request_error"


class AuthenticationError(APIError):
    status, type = 401, "invalid_request_error"


class PermissionDeniedError(APIError):
    status, type = 403, "invalid_request_error"


class NotFoundError(APIError):
    status, type = 404, "invalid_request_error"


class ConflictError(APIError):
    """Something else is under way that ends soon: the clients try again by themselves."""

    status, type = 409, "invalid_request_error"


class PayloadTooLargeError(APIError):
    status, type = 413, "invalid_request_error"


class RateLimitError(APIError):
    status, type = 429, "requests"


class UnavailableError(APIError):
    status, type = 503, "server_error"


class JobError(LuthierError):
    """Ends a job. `code` and `param` are OpenAI's (`invalid_training_file`, `training_file` ...)."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class BaseModelError(LuthierError):
    """A base model is unknown, cannot be fetched, or its files are not what they should be."""


class RenamedSettingWarning(FutureWarning):
    """A setting was given under its former name; the message names the current one."""


class RenderError(LuthierError):
    """A conversation cannot be rendered for this base model; the message names the message and the cause."""
