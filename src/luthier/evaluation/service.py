"""The interface of a service that an evaluation queries, and its implementation for any OpenAI-compatible service."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from luthier.evaluation.losses import LossesNotAvailableError
from luthier.types.evaluations import ExampleLoss

if TYPE_CHECKING:
    import openai

_UNKNOWN_PATH_STATUSES = (404, 405, 501)


class Service(Protocol):
    """A service to evaluate. Its methods are thread-safe and raise the service's errors."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The chat completion for a request body."""

    def losses(self, model: str, examples: Sequence[dict[str, Any]]) -> list[ExampleLoss]:
        """The loss of each example, in the form of a training file. Raises LossesNotAvailableError."""

    def loss_history(self, model: str) -> list[tuple[float, float]]:
        """(epoch, full validation loss) of the job that trained the model; empty if not available."""


class OpenAIService:
    """Any service, through the official client. Losses are an extension of Luthier that other services lack."""

    def __init__(self, client: "openai.OpenAI") -> None:
        self._client = client

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        completion: dict[str, Any] = self._client.chat.completions.create(**body).to_dict()
        return completion

    def losses(self, model: str, examples: Sequence[dict[str, Any]]) -> list[ExampleLoss]:
        import openai

        try:
            response: Any = self._client.post(
                "/evaluations/losses", cast_to=object, body={"model": model, "examples": list(examples)}
            )
        except openai.APIStatusError as error:
            if error.code == "losses_not_available" or (
                error.status_code in _UNKNOWN_PATH_STATUSES and error.code != "model_not_found"
            ):
                raise LossesNotAvailableError(str(error)) from error
            raise
        return [ExampleLoss(**loss) for loss in response["data"]]

    def store_report(self, model: str, report: dict[str, Any]) -> dict[str, Any] | None:
        """Stores a JSON report with its model, and returns the evaluation; None if the service stores no reports."""
        import openai

        try:
            evaluation: Any = self._client.post("/evaluations", cast_to=object, body={"model": model, "report": report})
        except openai.APIStatusError as error:
            if error.status_code in _UNKNOWN_PATH_STATUSES:
                return None
            raise
        return dict(evaluation)

    def latest_evaluation(self, model: str) -> dict[str, Any] | None:
        """The newest evaluation of a model that has a headline, without its report; None if there is none."""
        import openai

        try:
            page: Any = self._client.get("/evaluations", cast_to=object, options={"params": {"model": model}})
        except openai.APIStatusError as error:
            if error.status_code in _UNKNOWN_PATH_STATUSES:
                return None
            raise
        evaluations = page["data"] if isinstance(page, dict) else []
        return next((evaluation for evaluation in evaluations if evaluation.get("headline")), None)

    def loss_history(self, model: str) -> list[tuple[float, float]]:
        import openai

        if not model.startswith("ft:"):
            return []
        try:
            job = next((job for job in self._client.fine_tuning.jobs.list() if job.fine_tuned_model == model), None)
            checkpoints = list(self._client.fine_tuning.jobs.checkpoints.list(job.id)) if job else []
        except openai.OpenAIError:
            return []  # other services may have no jobs; the report then has no history
        epochs = getattr(job.hyperparameters, "n_epochs", None) if job and job.hyperparameters else None
        return losses_by_epoch([(point.step_number, point.metrics.full_valid_loss) for point in checkpoints], epochs)


def losses_by_epoch(checkpoints: Sequence[tuple[int, float | None]], epochs: Any) -> list[tuple[float, float]]:
    """(step, loss) → (epoch, loss), by the assumption that the last step ends the last of `epochs` epochs."""
    last_step = max((step for step, _ in checkpoints), default=0)
    if not isinstance(epochs, int) or not last_step:
        return []
    return sorted((round(step * epochs / last_step, 2), loss) for step, loss in checkpoints if loss is not None)
