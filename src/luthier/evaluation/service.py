"""The services that are evaluated: what a report asks of one, and any that speaks OpenAI's API as one of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from luthier.evaluation.losses import NotOfferedError
from luthier.types.evaluations import ExampleLoss

if TYPE_CHECKING:
    import openai

# Statuses by which services say that they do not know a path.
_NO_SUCH_PATH = (404, 405, 501)


class Service(Protocol):
    """Safe to ask from several threads. Each method raises what the service answers."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion."""

    def losses(self, model: str, examples: Sequence[dict[str, Any]]) -> list[ExampleLoss]:
        """Of each example, as in a training file. Raises NotOfferedError where there is no such thing."""

    def history(self, model: str) -> list[tuple[float, float]]:
        """(epoch, full validation loss) of the job that made the model; empty where there is none to be found."""


class OpenAIService:
    """Any service behind the official client. Losses are Luthier's own and of no other service."""

    def __init__(self, client: "openai.OpenAI") -> None:
        self._client = client

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.chat.completions.create(**body).to_dict()
        return answer

    def losses(self, model: str, examples: Sequence[dict[str, Any]]) -> list[ExampleLoss]:
        import openai

        try:
            answer: Any = self._client.post(
                "/evaluations/losses", cast_to=object, body={"model": model, "examples": list(examples)}
            )
        except openai.APIStatusError as error:
            if error.code == "losses_not_available" or (
                error.status_code in _NO_SUCH_PATH and error.code != "model_not_found"
            ):
                raise NotOfferedError(str(error)) from error
            raise
        return [ExampleLoss(**one) for one in answer["data"]]

    def keep(self, model: str, report: dict[str, Any]) -> dict[str, Any] | None:
        """Store a report (`Report.to_dict`) with its model; None where the service keeps no reports."""
        import openai

        try:
            kept: Any = self._client.post("/evaluations", cast_to=object, body={"model": model, "report": report})
        except openai.APIStatusError as error:
            if error.status_code in _NO_SUCH_PATH:
                return None
            raise
        return dict(kept)

    def newest(self, model: str) -> dict[str, Any] | None:
        """The newest evaluation of a model that has a headline, without its report; None where there is none."""
        import openai

        try:
            page: Any = self._client.get("/evaluations", cast_to=object, options={"params": {"model": model}})
        except openai.APIStatusError as error:
            if error.status_code in _NO_SUCH_PATH:
                return None
            raise
        return next((one for one in page["data"] if one.get("headline")), None) if isinstance(page, dict) else None

    def history(self, model: str) -> list[tuple[float, float]]:
        import openai

        if not model.startswith("ft:"):
            return []
        try:
            job = next((job for job in self._client.fine_tuning.jobs.list() if job.fine_tuned_model == model), None)
            points = list(self._client.fine_tuning.jobs.checkpoints.list(job.id)) if job else []
        except openai.OpenAIError:
            return []  # another service may not have jobs at all; the figures stand without them
        epochs = getattr(job.hyperparameters, "n_epochs", None) if job and job.hyperparameters else None
        return by_epoch([(point.step_number, point.metrics.full_valid_loss) for point in points], epochs)


def by_epoch(points: Sequence[tuple[int, float | None]], epochs: Any) -> list[tuple[float, float]]:
    """(epoch, loss) of checkpoints that are (step, loss), of which the last ends a job of so many epochs."""
    last = max((step for step, _ in points), default=0)
    if not isinstance(epochs, int) or not last:
        return []
    return sorted((round(step * epochs / last, 2), loss) for step, loss in points if loss is not None)
