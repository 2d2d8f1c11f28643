"""The error tree: every error that a client or user may see.

    LuthierError
    ├── APIError                        an error response with OpenAI's four-key body
    │   ├── BadRequestError             400
    │   ├── AuthenticationError         401
    │   ├── PermissionDeniedError       403
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── PayloadTooLargeError        413
    │   ├── UnsupportedMediaTypeError   415
    │   ├── RateLimitError              429
    │   ├── CorruptDataError            500
    │   ├── UnavailableError            503
    │   └── InsufficientStorageError    507
    ├── JobError                        ends a fine-tuning job as `failed`, with code, message and param
    ├── StaleClaimError                 a worker's write was refused, because its claim is outdated
    ├── BaseModelError                  a base model cannot be found, fetched or loaded
    ├── ExportError                     a fine-tuned model cannot be exported, or an adapter imported
    └── RenderError                     an example or a request cannot be tokenized

    FutureWarning
    └── RenamedSettingWarning     a setting given under its former name, which still works

OpenAI's clients retry the statuses 408, 409, 429 and 5xx, so permanent errors have other statuses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class LuthierError(Exception):
    """Root of the tree. The message says what went wrong and what to do."""


class APIError(LuthierError):
    """An error response in OpenAI's format: `message`, `type`, `param` and `code`."""

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
        """The response body. OpenAI's schema requires all four keys. Lone surrogates, which UTF-8 cannot encode, are
        replaced; they come from texts that the message quotes.
        """
        message, param = (text and text.encode(errors="replace").decode() for text in (self.message, self.param))
        return {"error": {"message": message, "type": self.type, "param": param, "code": self.code}}


class BadRequestError(APIError):
    status, type = 400, "invalid_request_error"


class AuthenticationError(APIError):
    status, type = 401, "invalid_request_error"


class PermissionDeniedError(APIError):
    status, type = 403, "invalid_request_error"


class NotFoundError(APIError):
    status, type = 404, "invalid_request_error"


class UnsupportedMediaTypeError(APIError):
    status, type = 415, "invalid_request_error"


class ConflictError(APIError):
    """A conflicting operation is in progress and ends soon; OpenAI's clients retry by themselves."""

    status, type = 409, "invalid_request_error"


class PayloadTooLargeError(APIError):
    status, type = 413, "invalid_request_error"


class CorruptDataError(APIError):
    """Content on the server's disk differs from what was written; a retry cannot succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="corrupt_data", headers={"x-should-retry": "false"})


class InsufficientStorageError(APIError):
    """Status 507: a retry succeeds only after somebody has freed space."""

    status, type = 507, "server_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, code="insufficient_storage", headers={"x-should-retry": "false"})


class RateLimitError(APIError):
    status, type = 429, "requests"


class UnavailableError(APIError):
    status, type = 503, "server_error"


class JobError(LuthierError):
    """Ends a job as `failed`. `code` and `param` are OpenAI's (`invalid_training_file`, `training_file` ...)."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class StaleClaimError(LuthierError):
    """A worker tried to write to a row that another worker has claimed since; nothing was written."""

    def __init__(self, row_id: str) -> None:
        super().__init__(f"{row_id} was claimed by another worker")


class BaseModelError(LuthierError):
    """A base model is unknown, cannot be fetched, or has invalid files."""


class ExportError(LuthierError):
    """A fine-tuned model cannot be exported as requested, or an adapter from elsewhere cannot be imported."""


class RenamedSettingWarning(FutureWarning):
    """A setting was given under its former name; the message names the current one."""


class RenderError(LuthierError):
    """A conversation cannot be rendered for this base model; the text names the message and the cause."""


def without_path(error: Exception, folder: Path) -> str:
    """Return the text of an error about a model's folder with the path replaced by the folder's name, so that
    clients may see it."""
    return str(error).replace(str(folder), folder.name)
