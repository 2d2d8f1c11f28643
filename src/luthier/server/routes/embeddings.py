"""`/v1/embeddings`: the mean of a model's last hidden states over the tokens of a text, or what an embedding model
makes of it; of length 1.

`dimensions` keeps the first ones and brings them back to length 1.
"""

import asyncio
import base64
import math
import struct
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from luthier.inference import Embedder
from luthier.server.generation import upstream_proxy
from luthier.server.generation.model_param import model_name
from luthier.server.generation.prompt_inputs import TextReader, check_room, token_ids
from luthier.server.http.disconnect import while_connected
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads
from luthier.server.http.pydantic_errors import validated
from luthier.server.model_resolver import SERVED_BY, Target, shown
from luthier.server.state import State, StateOf, renderer
from luthier.types.embeddings import CreateEmbeddingRequest, Embedding, EmbeddingList, EmbeddingUsage
from luthier.types.errors import BadRequestError

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], route_class=StrictRoute)
_MOST_TOKENS = 300_000  # of all inputs of a request


@router.post("", response_model=EmbeddingList, openapi_extra=reads(CreateEmbeddingRequest))
async def create(request: Request, state: StateOf) -> Response:
    asked: Any = await request.json()
    target = await run_in_threadpool(state.names.resolve_embedding, model_name(asked, CreateEmbeddingRequest))
    if target.upstream:
        return await while_connected(request, upstream_proxy.forward(state, target.upstream, asked, "/embeddings"))
    body = validated(CreateEmbeddingRequest, asked)
    reader, engine = await while_connected(request, _model(state, target))
    prompts = await run_in_threadpool(_prompts, body, reader, engine.context_tokens)

    async def vectors() -> list[list[float]]:
        return await asyncio.wrap_future(engine.embed(prompts, target.adapter))

    made = await while_connected(request, vectors())
    tokens = sum(len(prompt) for prompt in prompts)
    answer = EmbeddingList(
        data=[Embedding(index=at, embedding=_as_asked(vector, body)) for at, vector in enumerate(made)],
        model=target.name,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )
    served_by = shown(str(target.embedding_model or target.base))
    return JSONResponse(answer.model_dump(), headers={SERVED_BY: quote(served_by)})


async def _model(state: State, target: Target) -> tuple[TextReader, Embedder]:
    """Its tokenizer and what embeds. Raises BaseModelError."""
    if target.embedding_model:
        encoder = await state.started(state.encoders, target.embedding_model)
        return encoder, encoder
    base, engine = await state.ready(target.base or "")
    return renderer(base, target.adapter), engine


def _prompts(body: CreateEmbeddingRequest, reader: TextReader, context: int) -> list[list[int]]:
    """Token ids of each input. Raises BadRequestError."""
    prompts = token_ids(body.input, reader, context, "input")
    if not all(prompts):
        raise BadRequestError("Invalid 'input': input cannot be an empty string.", param="input", code="invalid_value")
    check_room(context, max(len(prompt) for prompt in prompts), 0)
    total = sum(len(prompt) for prompt in prompts)
    if total > _MOST_TOKENS:
        message = f"Requested {total} tokens, max {_MOST_TOKENS} tokens per request"
        raise BadRequestError(message, param="input", code="max_tokens_per_request")
    return prompts


def _as_asked(vector: Sequence[float], body: CreateEmbeddingRequest) -> list[float] | str:
    wanted = body.dimensions or len(vector)
    if wanted > len(vector):
        message = f"Invalid value for 'dimensions' = {wanted}. Must be less than or equal to {len(vector)}."
        raise BadRequestError(message, param="dimensions")
    kept = list(vector[:wanted])
    if wanted < len(vector):
        length = math.sqrt(sum(value * value for value in kept)) or 1.0
        kept = [value / length for value in kept]
    if body.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{wanted}f", *kept)).decode()
    return kept
