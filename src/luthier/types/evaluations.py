"""Evaluations: held-out examples put to models. Luthier's own; OpenAI's specification has nothing of the kind."""

from typing import Annotated, Any

from pydantic import Field

from luthier.types.common import Request, Response

MOST_EXAMPLES = 64


class CreateLossesRequest(Request):
    """`examples`: as in a training file, with definitions as the model is to see them."""

    model: Annotated[str, Field(min_length=1)]
    examples: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_EXAMPLES)]


class ExampleLoss(Response):
    """Sums over the trained tokens of one example, so that a loss of many examples is Σ `loss` / Σ `weight`.

    `loss`: of negative log-probabilities by weight, in nats; `correct_tokens`: of `tokens`, those that the model finds
    likeliest; `truncated`: the example is longer than the model's context and was cut there, as in training.
    """

    loss: float
    weight: float
    tokens: int
    correct_tokens: int
    truncated: bool


class Losses(Response):
    """In the order of the request."""

    object: str = "list"
    model: str
    data: list[ExampleLoss]
