"""`/metrics`, for Prometheus. It counts the jobs of all projects, so it needs an admin key."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from luthier.server.http.auth import AdminDep

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request, _: AdminDep) -> Response:
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
