"""Data sources of runs of an eval: where the items come from, and how a model is sampled for each.

The fields are those of OpenAI's OpenAPI file; its guide spells `max_completion_tokens` in two ways.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.chat import ResponseFormat, Tool
from luthier.types.common import Metadata, ReasoningEffort, Request
from luthier.types.graders import EvalItem
from luthier.types.responses import FunctionTool, TextOptions

MAX_ITEMS = 10_000  # of one run
MAX_ITEM_BYTES = 1024 * 1024  # of one item with its sample, as JSON
MAX_CONTENT_BYTES = 2 * 1024 * 1024  # of items within a request; a file may have more
MAX_RUN_BYTES = 64 * 1024 * 1024  # of all items of a run

_Name = Annotated[str, Field(min_length=1)]
_Time = Annotated[int, Field(ge=0, le=2**53)]


class DataRow(Request):
    """A line of a file, or an entry of `content`. `sample`: an answer generated elsewhere, to be graded."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(Request):
    type: Literal["file_content"]
    content: Annotated[list[DataRow], Field(fail_fast=True, min_length=1, max_length=MAX_ITEMS)]


class FileId(Request):
    type: Literal["file_id"]
    id: _Name


class StoredCompletionsSource(Request):
    """Stored chat completions, the newest `limit` of those that match. Times are in Unix seconds."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None
    model: str | None = None
    created_after: _Time | None = None
    created_before: _Time | None = None
    limit: Annotated[int, Field(ge=1)] | None = None


class ResponsesSource(Request):
    """Stored responses. `instructions_search`: text that the instructions contain; `tools`: names of functions."""

    type: Literal["responses"]
    metadata: Metadata | None = None
    model: str | None = None
    instructions_search: str | None = None
    created_after: _Time | None = None
    created_before: _Time | None = None
    reasoning_effort: ReasoningEffort | None = None
    temperature: float | None = None
    top_p: float | None = None
    users: list[str] | None = None
    tools: list[str] | None = None


class TemplateMessage(EvalItem):
    phase: Literal["commentary", "final_answer"] | None = None


class MessageTemplate(Request):
    type: Literal["template"]
    template: Annotated[list[TemplateMessage], Field(fail_fast=True, min_length=1, max_length=256)]


class MessagesReference(Request):
    """`item_reference`: the path of a list of messages in each item, such as `item.input`."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, Field(min_length=1, max_length=500)]


InputMessages = Annotated[MessageTemplate | MessagesReference, Field(discriminator="type")]


class _Sampling(Request):
    reasoning_effort: ReasoningEffort | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def max_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_completions_tokens


class CompletionsSampling(_Sampling):
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=128)] | None = None


class ResponsesSampling(_Sampling):
    """`seed` is read and has no effect: the Responses API has none."""

    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(fail_fast=True, max_length=128)] | None = None


class JsonlDataSource(Request):
    """Items that are graded without sampling, each with an optional sample."""

    type: Literal["jsonl"]
    source: Annotated[FileContent | FileId, Field(discriminator="type")]


class CompletionsDataSource(Request):
    """With `model`, that model answers each item in a chat completion; without it, the answers of the source are
    graded."""

    type: Literal["completions"]
    source: Annotated[FileContent | FileId | StoredCompletionsSource, Field(discriminator="type")]
    input_messages: InputMessages | None = None
    model: _Name | None = None
    sampling_params: CompletionsSampling | None = None


class ResponsesDataSource(Request):
    """With `model`, that model answers each item in a response; without it, the answers of the source are graded."""

    type: Literal["responses"]
    source: Annotated[FileContent | FileId | ResponsesSource, Field(discriminator="type")]
    input_messages: InputMessages | None = None
    model: _Name | None = None
    sampling_params: ResponsesSampling | None = None


SampledDataSource = CompletionsDataSource | ResponsesDataSource
DataSource = Annotated[JsonlDataSource | SampledDataSource, Field(discriminator="type")]


def model_of(data_source: DataSource) -> str | None:
    """The model that is sampled; None if existing answers are graded."""
    return None if isinstance(data_source, JsonlDataSource) else data_source.model
