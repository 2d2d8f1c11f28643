"""Translates a request to a chat: its items with all earlier ones, and its parameters, as a chat completion request.
Errors of the chat are put into the words of the Responses API.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.server.http.errors import as_api_error
from luthier.server.http.pydantic_errors import validated
from luthier.server.routes.responses.items import Message
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import APIError, BadRequestError, RenderError
from luthier.types.responses import (
    LOGPROBS,
    AllowedFunctions,
    ChosenFunction,
    CreateResponseRequest,
    FunctionTool,
    PromptRequest,
    TextFormat,
    ToolChoice,
)

# Replacements for parameter names in errors and in their messages.
_NAMES = [
    (r"^messages\b.*", "input"),
    (r"^response_format\b.*", "text.format"),
    (r"^(tools\[\d+\])\.function\b", r"\1"),
    (r"^max_(completion_)?tokens$", "max_output_tokens"),
    (r"^reasoning_effort$", "reasoning.effort"),
]
_QUOTED = [("'messages'", "'input'"), ("'response_format'", "'text.format'"), ("the messages", "the input"),
           ("your messages", "your input")]  # fmt: skip


def chat_body(body: PromptRequest, messages: list[Message], metadata: AdapterMetadata) -> CreateChatCompletionRequest:
    """`messages`: all earlier messages and those of the request. `metadata`: of the model. Raises BadRequestError."""
    if not messages:
        message = "Missing required parameter: 'input'. Send a text or a list of items."
        raise BadRequestError(message, param="input", code="missing_required_parameter")
    if body.instructions:
        messages = [{"role": "system", "content": body.instructions}, *messages]
    chat: dict[str, Any] = {"model": body.model, "messages": messages}
    if body.tools:
        chat["tools"] = [_chat_tool(tool) for tool in body.tools]
    if body.tool_choice is not None and (body.tools or _has_effect(body.tool_choice, metadata)):
        chat["tool_choice"] = _chat_choice(body.tool_choice)
    chat["parallel_tool_calls"] = body.parallel_tool_calls
    if body.text and body.text.format:
        chat["response_format"] = _chat_format(body.text.format)
    if body.reasoning:
        chat["reasoning_effort"] = body.reasoning.effort
    if isinstance(body, CreateResponseRequest):
        with_logprobs = bool(body.top_logprobs) or LOGPROBS in (body.include or [])
        chat |= {"temperature": body.temperature, "top_p": body.top_p, "logprobs": with_logprobs}
        chat |= {"top_logprobs": body.top_logprobs, "max_completion_tokens": body.max_output_tokens}
    with in_words_of_responses():
        return validated(CreateChatCompletionRequest, chat)


def _has_effect(choice: ToolChoice, metadata: AdapterMetadata) -> bool:
    """Whether a `tool_choice` without definitions has an effect: on a model trained to call, or because it requires
    a call."""
    return metadata.call_form is not None or choice not in ("auto", "none")


def _chat_tool(tool: FunctionTool) -> dict[str, Any]:
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": tool.model_dump(include=set(names), exclude_none=True)}


def _chat_choice(choice: ToolChoice) -> Any:
    match choice:
        case ChosenFunction():
            return {"type": "function", "function": {"name": choice.name}}
        case AllowedFunctions():
            tools = [{"type": "function", "function": {"name": tool.name}} for tool in choice.tools]
            return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    return choice


def _chat_format(text: TextFormat) -> dict[str, Any]:
    """Raises BadRequestError for a schema without its name."""
    if text.type != "json_schema":
        return {"type": text.type}
    for name, value in (("name", text.name), ("schema", text.document)):
        if value is None:
            param = f"text.format.{name}"
            message = f"Missing required parameter: '{param}'."
            raise BadRequestError(message, param=param, code="missing_required_parameter")
    schema = text.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
    return {"type": "json_schema", "json_schema": schema}


@contextmanager
def in_words_of_responses() -> Iterator[None]:
    """Raises APIError, with the names that a parameter has in the Responses API."""
    try:
        yield
    except (APIError, RenderError) as error:
        raise _renamed(as_api_error(error)) from error


def _renamed(error: APIError) -> APIError:
    message, param = error.message, error.param
    for old, new in _QUOTED:
        message = message.replace(old, new)
    for pattern, new in _NAMES:
        renamed = re.sub(pattern, new, param or "")
        if param and renamed != param:
            message, param = message.replace(f"'{param}'", f"'{renamed}'"), renamed
    return type(error)(message, param=param, code=error.code, headers=error.headers)
