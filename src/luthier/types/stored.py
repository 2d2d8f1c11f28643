"""Stored chat completions: responses to requests with `store`, and their messages."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.chat import ChatCompletion
from luthier.types.common import Metadata, Request, Response
from luthier.types.files import FileObject


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
