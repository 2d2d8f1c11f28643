"""`/metrics`, for Prometheus. It counts all projects' jobs, so it takes a key of the whole organization."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from luthier.server.http.auth import CallerDep
from luthier.types.errors import PermissionDeniedError

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request, caller: CallerDep) -> Response:
    if not caller.admin:
        raise PermissionDeniedError("Metrics count the jobs of all projects: use a key that is bound to none.")
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
