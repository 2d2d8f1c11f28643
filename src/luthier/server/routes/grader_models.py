"""Model calls of graders, which use the same model names, engines and upstream service as client requests."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from luthier.evaluation.graders import GraderFailure, ModelReply, ModelRequest
from luthier.server.generation.prompt_inputs import tokenize_inputs
from luthier.server.generation.response import complete_response
from luthier.server.generation.upstream_proxy import UpstreamCall, forward, forward_unless_gone
from luthier.server.http.errors import as_api_error
from luthier.server.http.pydantic_errors import validated
from luthier.server.routes.chat_completions.response import prepare
from luthier.server.state import State
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.graders import TokenUsage

_EMBEDDING_MODEL = "text-embedding-3-small"


async def complete(state: State, request: ModelRequest) -> ModelReply:
    """Raises GraderFailure for every error of the model call."""
    try:
        response = await _chat_completion(state, request)
    except GraderFailure:
        raise
    except Exception as error:
        raise _server_failure(as_api_error(error).message) from error
    message, usage = response["choices"][0]["message"], response["usage"]
    token_usage = TokenUsage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )
    return ModelReply(message.get("content") or "", response["model"], token_usage, message.get("refusal"))


async def _chat_completion(state: State, request: ModelRequest) -> dict[str, Any]:
    target = await run_in_threadpool(state.models.resolve, request.model)
    sampling = request.sampling.model_dump(exclude_none=True)
    if "max_completions_tokens" in sampling:
        sampling["max_completion_tokens"] = sampling.pop("max_completions_tokens")
    body = {"model": request.model, "messages": request.messages, **sampling}
    if target.upstream_model:
        call = UpstreamCall(target.upstream_model, body, "/chat/completions")
        forwarded = await forward_unless_gone(state, call, target)
        if forwarded is not None:
            return _json(forwarded)
    body.pop("reasoning_effort", None)  # an answer that a schema constrains has no reasoning
    body["response_format"] = _result_format(request.result_schema)
    model = await state.app.loader.load(target.successor or target)
    completion = validated(CreateChatCompletionRequest, body)
    return await complete_response(await run_in_threadpool(prepare, state, model, completion), max_running=1)


def _result_format(result_schema: dict[str, Any]) -> dict[str, Any]:
    """Structured output with only the result, since small models seldom follow a format described in words."""
    schema = {
        "type": "object",
        "properties": {"result": result_schema},
        "required": ["result"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}


async def embed(state: State, texts: Sequence[str]) -> list[list[float]]:
    """A vector for each text, from the model behind OpenAI's embedding names. Raises GraderFailure."""
    try:
        return await _embeddings(state, list(texts))
    except GraderFailure:
        raise
    except Exception as error:
        raise _server_failure(as_api_error(error).message) from error


async def _embeddings(state: State, texts: list[str]) -> list[list[float]]:
    target = await run_in_threadpool(state.models.resolve_embedding, _EMBEDDING_MODEL)
    if target.upstream_model:
        body = {"model": _EMBEDDING_MODEL, "input": texts, "encoding_format": "float"}
        response = _json(await forward(state, target.upstream_model, body, "/embeddings"))
        return [entry["embedding"] for entry in response["data"]]
    model = await state.app.loader.load(target)
    context_tokens = model.engine.context_tokens
    inputs = await run_in_threadpool(tokenize_inputs, texts, model.renderer, context_tokens, "input")
    if not all(0 < len(ids) <= context_tokens for ids in inputs):
        raise _server_failure(f"texts for cosine have 1 to {context_tokens} tokens")
    return await asyncio.wrap_future(model.engine.embed(inputs, None))


def _json(response: Response) -> dict[str, Any]:
    """Raises GraderFailure."""
    body: dict[str, Any] = json.loads(bytes(response.body))
    if response.status_code != 200:
        raise _server_failure(f"the upstream service answered {response.status_code}: {str(body)[:500]}")
    return body


def _server_failure(details: str) -> GraderFailure:
    return GraderFailure(details, model_grader_server_error=True, model_grader_server_error_details=details)
