"""`/v1/embeddings`: vectors of length 1 from an embedding model, or the mean of a base model's last hidden states.

`dimensions` keeps the first components and rescales them to length 1.
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
from luthier.server.generation.model_param import model_name
from luthier.server.generation.prompt_inputs import TextTokenizer, check_context_length, tokenize_inputs
from luthier.server.generation.upstream_proxy import forward
from luthier.server.http.disconnect import cancel_on_disconnect
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads
from luthier.server.http.pydantic_errors import validated
from luthier.server.model_resolver import SERVED_BY, ResolvedModel
from luthier.server.state import State, StateDep
from luthier.types.embeddings import CreateEmbeddingRequest, Embedding, EmbeddingList, EmbeddingUsage
from luthier.types.errors import BadRequestError
from luthier.types.names import EMBEDDING_NAMES

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], route_class=StrictRoute)
_MAX_TOKENS = 300_000  # of all inputs of a request


@router.post("", response_model=EmbeddingList, openapi_extra=reads(CreateEmbeddingRequest))
async def create(request: Request, state: StateDep) -> Response:
    raw: Any = await request.json()
    target = await run_in_threadpool(state.models.resolve_embedding, model_name(raw, CreateEmbeddingRequest))
    if target.upstream_model:
        return await cancel_on_disconnect(request, forward(state, target.upstream_model, raw, "/embeddings"))
    body = validated(CreateEmbeddingRequest, raw)
    tokenizer, embedder = await cancel_on_disconnect(request, _load(state, target))
    _refuse_hosted_ids(body)
    inputs = await run_in_threadpool(_tokenize, body, tokenizer, embedder.context_tokens)
    vectors = await cancel_on_disconnect(request, _embed(embedder, inputs, target))
    tokens = sum(len(ids) for ids in inputs)
    response = EmbeddingList(
        data=[Embedding(index=index, embedding=_encode(vector, body)) for index, vector in enumerate(vectors)],
        model=target.name,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )
    return JSONResponse(response.model_dump(), headers={SERVED_BY: quote(target.weights_name)})


def _refuse_hosted_ids(body: CreateEmbeddingRequest) -> None:
    """Reject token ids under a hosted model's name: they come from its tokenizer, which this model does not have.

    Raises BadRequestError.
    """
    is_text = isinstance(body.input, str) or all(isinstance(entry, str) for entry in body.input)
    if body.model in EMBEDDING_NAMES and not is_text:
        raise BadRequestError(
            f"Invalid 'input': token ids sent to '{body.model}' are ids of OpenAI's tokenizer, and a local model with "
            "another tokenizer answers under this name. Send the text instead (LangChain: "
            "OpenAIEmbeddings(check_embedding_ctx_length=False)), or use the local model's own name with its own ids.",
            param="input",
            code="invalid_value",
        )


async def _load(state: State, target: ResolvedModel) -> tuple[TextTokenizer, Embedder]:
    """The model's tokenizer and its embedder. Raises BaseModelError."""
    if target.embedding_model:
        embedder = await state.app.loader.load_embedder(target.embedding_model)
        return embedder, embedder
    model = await state.app.loader.load(target)
    return model.renderer, model.engine


async def _embed(embedder: Embedder, inputs: list[list[int]], target: ResolvedModel) -> list[list[float]]:
    return await asyncio.wrap_future(embedder.embed(inputs, target.adapter))


def _tokenize(body: CreateEmbeddingRequest, tokenizer: TextTokenizer, context_tokens: int) -> list[list[int]]:
    """Token ids of each input. Raises BadRequestError."""
    inputs = tokenize_inputs(body.input, tokenizer, context_tokens, "input")
    if not all(inputs):
        raise BadRequestError("Invalid 'input': input cannot be an empty string.", param="input", code="invalid_value")
    check_context_length(context_tokens, max(len(ids) for ids in inputs), 0)
    total = sum(len(ids) for ids in inputs)
    if total > _MAX_TOKENS:
        message = f"Requested {total} tokens, max {_MAX_TOKENS} tokens per request"
        raise BadRequestError(message, param="input", code="max_tokens_per_request")
    return inputs


def _encode(vector: Sequence[float], body: CreateEmbeddingRequest) -> list[float] | str:
    """A vector with the requested dimensions, in the requested encoding. Raises BadRequestError."""
    dimensions = body.dimensions or len(vector)
    if dimensions > len(vector):
        message = f"Invalid value for 'dimensions' = {dimensions}. Must be less than or equal to {len(vector)}."
        raise BadRequestError(message, param="dimensions")
    components = list(vector[:dimensions])
    if dimensions < len(vector):
        norm = math.sqrt(sum(value * value for value in components)) or 1.0
        components = [value / norm for value in components]
    if body.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{dimensions}f", *components)).decode()
    return components
