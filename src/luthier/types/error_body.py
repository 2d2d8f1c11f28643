"""How an error travels. Apart from the errors themselves, which are raised where pydantic need not be loaded."""

from luthier.types.common import Response


class ErrorDetail(Response):
    """All four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Response):
    """What a client reads when something went wrong."""

    error: ErrorDetail
