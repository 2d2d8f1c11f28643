"""Embeddings: texts in, vectors out."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response

_Tokens = Annotated[list[int], Field(min_length=1, max_length=2048)]


class CreateEmbeddingRequest(Request):
    """`input`: a text or its token ids, or up to 2,048 of either."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=2048)]
        | _Tokens
        | Annotated[list[_Tokens], Field(min_length=1, max_length=2048)]
    )
    model: Annotated[str, Field(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None


class Embedding(Response):
    """`embedding`: floats, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Response):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Response):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
