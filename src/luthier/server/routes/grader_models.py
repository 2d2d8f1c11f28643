"""Questions to models from inside the server, for graders: through the same names and engines as clients' requests."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from luthier.evaluation.graders import Asked, GraderFailure, Reply
from luthier.server.generation import upstream_proxy
from luthier.server.generation.prompt_inputs import token_ids
from luthier.server.http.errors import as_api_error
from luthier.server.http.pydantic_errors import validated
from luthier.server.routes.chat_completions.prepare import prepare
from luthier.server.routes.chat_completions.response import whole
from luthier.server.state import State, renderer
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.graders import TokenUsage

_EMBEDDING = "text-embedding-3-small"


async def ask(state: State, asked: Asked) -> Reply:
    """Raises GraderFailure for whatever goes wrong on the way to the model or back."""
    try:
        answer = await _completion(state, asked)
    except GraderFailure:
        raise
    except Exception as error:
        raise _server_failure(as_api_error(error).message) from error
    message, used = answer["choices"][0]["message"], answer["usage"]
    usage = TokenUsage(
        prompt_tokens=used["prompt_tokens"],
        completion_tokens=used["completion_tokens"],
        total_tokens=used["total_tokens"],
        cached_tokens=(used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )
    return Reply(message.get("content") or "", answer["model"], usage, message.get("refusal"))


async def _completion(state: State, asked: Asked) -> dict[str, Any]:
    target = await run_in_threadpool(state.names.resolve, asked.model)
    given = asked.sampling.model_dump(exclude_none=True)
    if "max_completions_tokens" in given:
        given["max_completion_tokens"] = given.pop("max_completions_tokens")
    body = {"model": asked.model, "messages": asked.messages, **given}
    if target.upstream:
        return _read(await upstream_proxy.forward(state, target.upstream, body, "/chat/completions"))
    body.pop("reasoning_effort", None)  # models here do not reason apart from their answer
    body["response_format"] = _only(asked.result)
    base, engine = await state.ready(target.base or "")
    request = validated(CreateChatCompletionRequest, body)
    return await whole(await run_in_threadpool(prepare, state, base, engine, target, request))


def _only(result: dict[str, Any]) -> dict[str, Any]:
    """The form of a small model's verdict: the result and nothing else, since it seldom keeps to a form by itself."""
    schema = {
        "type": "object",
        "properties": {"result": result},
        "required": ["result"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}


async def embed(state: State, texts: Sequence[str]) -> list[list[float]]:
    """A vector for each text, by the model behind OpenAI's embedding names. Raises GraderFailure."""
    try:
        target = await run_in_threadpool(state.names.resolve_embedding, _EMBEDDING)
        if target.upstream:
            body = {"model": _EMBEDDING, "input": list(texts), "encoding_format": "float"}
            answer = _read(await upstream_proxy.forward(state, target.upstream, body, "/embeddings"))
            return [one["embedding"] for one in answer["data"]]
        base, engine = await state.ready(target.base or "")
        prompts = await run_in_threadpool(token_ids, list(texts), renderer(base, None), engine.context_tokens, "input")
        if not all(0 < len(prompt) <= engine.context_tokens for prompt in prompts):
            raise _server_failure(f"texts for cosine have 1 to {engine.context_tokens} tokens")
        return await asyncio.wrap_future(engine.embed(prompts, None))
    except GraderFailure:
        raise
    except Exception as error:
        raise _server_failure(as_api_error(error).message) from error


def _read(response: Response) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bytes(response.body))
    if response.status_code != 200:
        raise _server_failure(f"the service elsewhere answered {response.status_code}: {str(answer)[:500]}")
    return answer


def _server_failure(details: str) -> GraderFailure:
    return GraderFailure(details, model_grader_server_error=True, model_grader_server_error_details=details)
