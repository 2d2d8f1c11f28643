"""Response body of errors; separate from the exceptions, which are also raised where pydantic is not loaded."""

from luthier.types.common import Response


class ErrorDetail(Response):
    """All four keys are always present."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Response):
    """Response body of an error."""

    error: ErrorDetail
