"""What routes that list things have in common."""

from typing import Annotated, Any

from fastapi import Query

from luthier.store import Page
from luthier.types.common import ListPage

Limit = Annotated[int, Query(ge=0, le=1000)]


def list_page(page: Page[Any]) -> ListPage[Any]:
    """A page of the store as it is sent."""
    first, last = (page.data[0].id, page.data[-1].id) if page.data else (None, None)
    return ListPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more)
