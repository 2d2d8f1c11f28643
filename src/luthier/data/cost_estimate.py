"""Duration and cost of a job: arithmetic on token counts.

The caller counts the tokens with the base model's tokenizer and measures the speed of training. Prices are those that
OpenAI last published, for comparison with training on your own hardware.
"""

import math
import re
from dataclasses import dataclass

# USD per 1M training tokens. o4-mini was billed by the hour and is not listed.
_TRAINING_USD_PER_1M = {
    "gpt-4.1": 25.00,
    "gpt-4.1-mini": 5.00,
    "gpt-4.1-nano": 1.50,
    "gpt-4o": 25.00,
    "gpt-4o-mini": 3.00,
    "gpt-3.5-turbo": 8.00,
    "davinci-002": 6.00,
    "babbage-002": 0.40,
}
# The rate in the lesson's calculation, 10,000 tokens x 10 epochs = $1.60: the price of 1,000 tokens of *output* of a
# fine-tuned gpt-3.5-turbo in 2023. Training cost $0.008, so the same job was billed at $0.80.
LESSON_USD_PER_1K = 0.016
HOSTED_UNTIL = "2027-01-06"  # after this day OpenAI accepts no new fine-tuning job
_CALLS_SEEN = 1_000  # examples times epochs
_MAX_CALL_EPOCHS = 5
_CALL_SHARE = 0.5  # from which on a file is one of calls
MANY_S = 1000 * 3600.0  # an estimate above this duration, in seconds, gets a warning
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")  # gpt-4o-2024-08-06, gpt-3.5-turbo-0125


@dataclass(frozen=True, slots=True)
class Estimate:
    """The size, price and duration of a job.

    `tokens` counts one epoch, `trained_tokens` all epochs. `hosted_price_usd` (what OpenAI would charge) and `seconds`
    are None if unknown.
    """

    examples: int
    tokens: int
    epochs: int
    trained_tokens: int
    hosted_price_usd: float | None
    seconds: float | None


def openai_epochs(n: int) -> int:
    """OpenAI's number of epochs for `n` examples: 3, more for a small file, fewer for a very large one.

    Source: the OpenAI cookbook's data preparation notebook (targets of 100 and 25,000 examples, 1 to 25 epochs).
    """
    if n * 3 < 100:
        return min(25, 100 // max(n, 1))
    if n * 3 > 25_000:
        return max(1, 25_000 // n)
    return 3


def auto_epochs(n: int, call_share: float) -> int:
    """The number of epochs that `auto` stands for: OpenAI's, but up to 5 for fewer than 334 examples of calls.

    `call_share`: of the examples, those that call a function; a file of calls has at least half of them. Source: the
    measurements under "The basis of auto" in docs/training.md.
    """
    if call_share < _CALL_SHARE:
        return openai_epochs(n)
    return max(openai_epochs(n), min(_MAX_CALL_EPOCHS, math.ceil(_CALLS_SEEN / max(n, 1))))


def openai_price(model: str) -> float | None:
    """USD per 1M training tokens at OpenAI, or None for a model without such a price.

    `model` may be a plain name, a dated snapshot, or a fine-tuned model (`ft:BASE:...`).
    """
    base = model.split(":")[1] if model.startswith("ft:") else model
    return _TRAINING_USD_PER_1M.get(base, _TRAINING_USD_PER_1M.get(_DATE.sub("", base)))


def openai_prices() -> dict[str, float]:
    """USD per 1M training tokens at OpenAI by base model, as last published."""
    return dict(_TRAINING_USD_PER_1M)


def training_cost(tokens: int, epochs: int, usd_per_1k: float) -> float:
    """USD for a job: price of 1,000 tokens x tokens in the file x epochs. Validation tokens cost nothing."""
    return tokens * epochs * usd_per_1k / 1000


def estimate(
    tokens_per_example: list[int], *, n_epochs: int, model: str, tokens_per_s: float | None = None
) -> Estimate:
    """The tokens, price and duration of a job; `tokens_per_s` is the measured training throughput, if known."""
    tokens = sum(tokens_per_example)
    trained_tokens = tokens * n_epochs
    price = openai_price(model)
    return Estimate(
        examples=len(tokens_per_example),
        tokens=tokens,
        epochs=n_epochs,
        trained_tokens=trained_tokens,
        hosted_price_usd=None if price is None else training_cost(tokens, n_epochs, price / 1000),
        seconds=trained_tokens / tokens_per_s if tokens_per_s else None,
    )
