"""Prices of inference with fine-tuned models, in US dollars per million tokens, by base."""

from luthier.generate.budget import FREE, Price
from luthier.migrate.inventory import ModelEntry
from luthier.migrate.shutdown import undated

# OpenAI's prices as last published. Azure charges the same per token, and also for each hour of a deployment.
_FINE_TUNED = {
    "gpt-4.1": Price(3.00, 12.00),
    "gpt-4.1-mini": Price(0.80, 3.20),
    "gpt-4.1-nano": Price(0.20, 0.80),
    "gpt-4o": Price(3.75, 15.00),
    "gpt-4o-mini": Price(0.30, 1.20),
    "gpt-3.5-turbo": Price(3.00, 6.00),
    "o4-mini": Price(4.00, 16.00),
    "davinci-002": Price(12.00, 12.00),
    "babbage-002": Price(1.60, 1.60),
}


def inference_price(model: ModelEntry) -> Price | None:
    """The price of a model's answers: free for models of a Luthier server, None if no price is published."""
    return FREE if model.local else _FINE_TUNED.get(undated(model.base or ""))
