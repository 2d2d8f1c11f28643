"""Stored chat completions: responses to requests with `store`, and their messages."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.chat import ChatCompletion
from luthier.types.common import Metadata, Request, Response
from luthier.types.files import FileObject

_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}  # streams need not report it


class UpdateStoredRequest(Request):
    metadata: Metadata | None


class StoredCompletion(ChatCompletion):
    """The response with its request parameters; `input_user` is the request's `user`."""

    request_id: str | None = None
    metadata: dict[str, str]
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    input_user: str | None = None


class StoredMessage(Response):
    """A message of the request. Content sent in parts is in `content_parts`, and `content` is null."""

    id: str
    role: str
    content: str | None = None
    content_parts: list[dict[str, Any]] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None
    tool_call_id: str | None = None


def foreign_fields(completion: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `StoredCompletion` that a chat completion of another service has, without those that are unknown
    or null and without annotations. Raises KeyError for a completion without choices.
    """
    fields = _without_nulls(completion) | {"choices": [_choice(choice) for choice in completion["choices"]]}
    usage = _without_nulls(completion.get("usage") or _NO_USAGE)
    fields["usage"] = {name: _without_nulls(n) if isinstance(n, dict) else n for name, n in usage.items()}
    return {name: value for name, value in fields.items() if name in StoredCompletion.model_fields}


def stored_message(message_id: str, fields: Mapping[str, Any]) -> StoredMessage:
    """Content that was sent in parts is stored in parts."""
    stored = {name: value for name, value in fields.items() if name in StoredMessage.model_fields}
    if isinstance(stored.get("content"), list):
        stored["content_parts"] = stored.pop("content")
    return StoredMessage(**{**stored, "id": message_id})


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Without annotations, and with calls as their type has them."""
    message = {name: value for name, value in choice["message"].items() if name != "annotations"}
    message.setdefault("content", None)
    if message.get("tool_calls"):
        names = ("id", "type", "function")
        message["tool_calls"] = [{name: call[name] for name in names} for call in message["tool_calls"]]
    return {**choice, "message": message}


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in value.items() if entry is not None}


class StoredDeleted(Response):
    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: bool = True


class ExportRequest(Request):
    """Which stored completions become examples: those of the model, and with all pairs of the metadata."""

    model: str | None = None
    metadata: Metadata | None = None
    filename: Annotated[str, Field(pattern=r"^[^/\\\x00]{1,200}\.jsonl$")] = "completions.jsonl"


class CompletionsExport(Response):
    """`file`: the training file. `skipped`: completions that are no examples, by reason."""

    file: FileObject
    examples: int
    skipped: dict[str, int]
