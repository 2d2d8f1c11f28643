"""The input file of a batch: its lines, and the check that all of them are valid requests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.types.batches import MAX_REQUESTS, BatchError
from luthier.types.errors import BadRequestError
from luthier.types.strict_json import parse_json

_MOST_ERRORS = 100
_MOST_INPUTS = 50_000  # for embeddings, over all lines


@dataclass(frozen=True)
class Line:
    """One request of the batch; `number` is its line in the file, from 1."""

    number: int
    custom_id: str
    body: dict[str, Any]


@dataclass(frozen=True)
class InputCheck:
    """`model`: the model that all lines name; if there are `errors`, no request of the batch is sent."""

    total: int
    model: str | None
    errors: list[BatchError]


class _LineError(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file that has passed `check_input`."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                value = json.loads(raw)
                yield Line(number, value["custom_id"], value["body"])


def check_input(path: Path, endpoint: str) -> InputCheck:
    """Checks every line, up to the hundredth error."""
    errors: list[BatchError] = []
    checker = _LineChecker(endpoint)
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                checker.check(raw)
            except _LineError as error:
                errors.append(BatchError(code=error.code, message=error.message, param=error.param, line=number))
                if len(errors) == _MOST_ERRORS or error.code == "too_many_tasks":
                    break
    if not checker.total and not errors:
        message = "The input file is empty. Please ensure that the batch contains at least one request."
        errors.append(BatchError(code="empty_file", message=message))
    return InputCheck(checker.total, checker.model, errors)


class _LineChecker:
    """Checks lines one by one, each also against the previous ones."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint, self._ids, self._inputs = endpoint, set[str](), 0
        self.total = 0
        self.model: str | None = None

    def check(self, raw: bytes) -> None:
        """Raises _LineError."""
        self.total += 1
        if self.total > MAX_REQUESTS:
            raise _LineError(
                "too_many_tasks", f"The batch input file contains too many requests. The limit is {MAX_REQUESTS}."
            )
        try:
            value = parse_json(raw)
        except BadRequestError:
            raise _LineError("invalid_json_line", "This line is not parseable as valid JSON.") from None
        if not isinstance(value, dict):
            raise _LineError("invalid_json_line", "This line is not a JSON object.")
        self._check_fields(value)
        self._check_model(value["body"])
        self._check_inputs(value["body"])

    def _check_fields(self, value: dict[str, Any]) -> None:
        for name, expected in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if name not in value:
                raise _LineError("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
            if not isinstance(value[name], expected):
                noun = "an object" if expected is dict else "a string"
                raise _LineError("invalid_type", f"Invalid type for '{name}': expected {noun}.", name)
        custom_id = value["custom_id"]
        if custom_id in self._ids:
            message = (
                f"The custom_id '{custom_id[:100]}' for this request is a duplicate of another request. The "
                "custom_id parameter must be unique for each request in a batch."
            )
            raise _LineError("duplicate_custom_id", message, "custom_id")
        self._ids.add(custom_id)
        if value["method"] != "POST":
            raise _LineError("invalid_method", "The method of a request in a batch must be POST.", "method")
        if value["url"] != self._endpoint:
            message = f"The URL provided for this request does not match the batch endpoint ({self._endpoint})."
            raise _LineError("invalid_url", message, "url")

    def _check_model(self, body: dict[str, Any]) -> None:
        model = body.get("model")
        if self._endpoint == "/v1/moderations" and model is None:
            return
        if not isinstance(model, str) or not model:
            raise _LineError("missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model")
        if self.model not in (None, model):
            message = (
                f"The model '{model[:100]}' for this request does not match the rest of the batch. Each batch must "
                "contain requests for a single model."
            )
            raise _LineError("mismatched_model", message, "body.model")
        self.model = model

    def _check_inputs(self, body: dict[str, Any]) -> None:
        inputs = body.get("input")
        if self._endpoint != "/v1/embeddings" or not isinstance(inputs, list):
            self._inputs += self._endpoint == "/v1/embeddings"
        else:
            self._inputs += 1 if inputs and isinstance(inputs[0], int) else len(inputs)
        if self._inputs > _MOST_INPUTS:
            message = f"The requests of a batch may embed {_MOST_INPUTS} inputs together."
            raise _LineError("too_many_tasks", message, "body.input")
