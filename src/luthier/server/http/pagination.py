"""List endpoints: the `limit` parameter, the `metadata` filter, and pages of the store as OpenAI sends them."""

from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel

from luthier.server.http.pydantic_errors import validated
from luthier.store import Page
from luthier.types.common import ListPage, Metadata

METADATA_PARAMETER = {  # `openapi_extra` of a route that calls `parse_metadata_filter`
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "schema": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "null"}]},
        }
    ]
}
Limit = Annotated[int, Query(ge=0, le=1000)]


class _MetadataQuery(BaseModel):
    metadata: Metadata


def parse_metadata_filter(request: Request) -> dict[str, str] | None:
    """The pairs of `metadata[key]=value` in the query; None for `metadata=null`, which selects rows without metadata.

    Raises BadRequestError for pairs that no metadata can hold.
    """
    query = request.query_params
    if query.get("metadata") == "null":
        return None
    pairs = {key[len("metadata[") : -1]: query[key] for key in query if key.startswith("metadata[") and key[-1] == "]"}
    return validated(_MetadataQuery, {"metadata": pairs}).metadata


def list_page(page: Page[Any]) -> ListPage[Any]:
    """A page of the store as an OpenAI list object.

    An empty page, of `limit=0`, is the last one: it has no cursor to continue from, and a client would ask for ever.
    """
    first, last = (page.data[0].id, page.data[-1].id) if page.data else (None, None)
    return ListPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more and bool(page.data))
