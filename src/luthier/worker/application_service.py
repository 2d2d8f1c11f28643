"""The application as a service for evaluations (`luthier.evaluation.service`), for one project."""

from collections.abc import Callable, Sequence
from typing import Any

import httpx

from luthier.evaluation.losses import LossesNotAvailableError
from luthier.evaluation.service import losses_by_epoch
from luthier.store import Store
from luthier.types.errors import APIError, NotFoundError
from luthier.types.evaluations import ExampleLoss
from luthier.worker.application import Application, LoopTask
from luthier.worker.batch_output import read_response

_CHECK_S = 0.2  # between checks of `stopped` while waiting for a response
_CHECKPOINTS = 100


class StoppedError(Exception):
    """The evaluation was cancelled or deleted, or the worker stops."""


class ApplicationService:
    """Thread-safe. Every method raises StoppedError once `stopped` returns true."""

    def __init__(self, application: Application, store: Store, project: str, stopped: Callable[[], bool]) -> None:
        self._application, self._project, self._stopped = application, project, stopped
        self._store = store.within(project)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.post("/v1/chat/completions", body)

    def losses(self, model: str, examples: Sequence[dict[str, Any]]) -> list[ExampleLoss]:
        try:
            response = self.post("/v1/evaluations/losses", {"model": model, "examples": list(examples)})
        except APIError as error:
            if error.code == "losses_not_available":
                raise LossesNotAvailableError(error.message) from error
            raise
        return [ExampleLoss(**entry) for entry in response["data"]]

    def loss_history(self, model: str) -> list[tuple[float, float]]:
        tuned = self._store.models.find(model)
        if tuned is None:
            return []
        try:
            job = self._store.jobs.retrieve(tuned.job_id)
        except NotFoundError:  # the job belongs to another project, which shares only the model
            return []
        points = self._store.jobs.checkpoints(tuned.job_id, limit=_CHECKPOINTS, after=None).data
        losses = [(point.step_number, point.metrics.get("full_valid_loss")) for point in points]
        return losses_by_epoch(losses, job.hyperparameters.get("n_epochs"))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the response body. Raises APIError for an error response of the application."""
        response = self._send(path, body)
        status, payload = read_response(response)
        if status == 200:
            return payload
        error = payload.get("error")
        if not isinstance(error, dict):
            error = {}
        raise APIError(str(error.get("message") or response.text), code=error.get("code"))

    def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        if self._stopped():
            raise StoppedError
        task = LoopTask(self._application.loop, self._application.post(self._project, path, body))
        while not task.wait(_CHECK_S):
            if self._stopped():
                task.cancel()
                raise StoppedError
        return task.result()
