"""What routes that list things have in common."""

from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel

from luthier.server.http.pydantic_errors import validated
from luthier.store import Page
from luthier.types.common import ListPage, Metadata

BY_METADATA = {  # `openapi_extra` of a route that reads `metadata_pairs`
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


class _Query(BaseModel):
    metadata: Metadata


def metadata_pairs(request: Request) -> dict[str, str] | None:
    """`metadata[key]=value` of the query; None for `metadata=null`: those without metadata are asked for.

    Raises BadRequestError for what no metadata can hold.
    """
    query = request.query_params
    if query.get("metadata") == "null":
        return None
    pairs = {key[len("metadata[") : -1]: query[key] for key in query if key.startswith("metadata[") and key[-1] == "]"}
    return validated(_Query, {"metadata": pairs}).metadata


def list_page(page: Page[Any]) -> ListPage[Any]:
    """A page of the store as it is sent."""
    first, last = (page.data[0].id, page.data[-1].id) if page.data else (None, None)
    return ListPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more)
