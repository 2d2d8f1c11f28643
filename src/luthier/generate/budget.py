"""The cost of a run, under a cap that is never exceeded.

A request reserves its maximum cost before it is sent, and its actual cost is settled after the reply. Amounts are in US
dollars, prices in US dollars per million tokens.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from luthier.generate.errors import CostCapError
from luthier.language import say

# OpenAI's prices per million (prompt, completion) tokens, as last published; the flags --price-in and --price-out
# override them.
_PUBLISHED_PRICES = {
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-3.5-turbo": (0.50, 1.50),
}
_DATE_SUFFIX = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model, in US dollars per million prompt and completion tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


FREE = Price(0.0, 0.0)


def published_price(model: str) -> Price | None:
    """OpenAI's price for a model name with or without a date; None for any other name."""
    price = _PUBLISHED_PRICES.get(_DATE_SUFFIX.sub("", model))
    return Price(*price) if price else None


class Budget:
    """The cost of this run and of earlier runs with the same journal. Not thread-safe: it belongs to one event loop."""

    def __init__(self, prices: Mapping[str, Price | None], cost_cap: float | None = None, spent: float = 0.0) -> None:
        """`prices` are keyed by model; a model with the price None counts as free, so callers refuse it under a cap."""
        self._prices, self.cost_cap, self.spent = prices, cost_cap, spent
        self.unpriced: set[str] = set()  # models of earlier runs that have no known price
        self._reserved = 0.0
        self._settled = asyncio.Condition()

    def price(self, model: str) -> Price | None:
        return self._prices.get(model)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        price = self.price(model)
        return price.cost(prompt_tokens, completion_tokens) if price else 0.0

    def earlier_cost(self, model: str, prompt_tokens: int, completion_tokens: int, price: Price | None) -> float | None:
        """The cost of an earlier request at its recorded price, else at this run's, else at the published price.

        Returns None if none of the three is known.
        """
        price = price or self.price(model) or published_price(model)
        return price.cost(prompt_tokens, completion_tokens) if price else None

    def add_earlier(self, model: str, prompt_tokens: int, completion_tokens: int, price: Price | None) -> None:
        """Adds the cost of a request of an earlier run, possibly to another model than this run's."""
        cost = self.earlier_cost(model, prompt_tokens, completion_tokens, price)
        if cost is None:
            self.unpriced.add(model)
        else:
            self.spent += cost

    @property
    def is_priced(self) -> bool:
        """Whether the price of every model is known, in this run and in earlier ones."""
        return not self.unpriced and all(price is not None for price in self._prices.values())

    async def reserve(self, max_cost: float) -> None:
        """Reserves `max_cost`. Waits for pending requests to settle where only their reservations exceed the cap.

        Raises:
            CostCapError: Even without pending requests, the cap would be exceeded.
        """
        if self.cost_cap is None:
            return
        async with self._settled:
            while self.spent + self._reserved + max_cost > self.cost_cap:
                if self._reserved <= 0:
                    raise self._cap_error(max_cost)
                await self._settled.wait()
            self._reserved += max_cost

    async def settle(self, reserved: float, cost: float) -> None:
        """Replaces a reservation by the actual cost."""
        async with self._settled:
            self.spent += cost
            if self.cost_cap is not None:
                self._reserved = max(0.0, self._reserved - reserved)
                if self._reserved < 1e-12:
                    self._reserved = 0.0
            self._settled.notify_all()

    def _cap_error(self, max_cost: float) -> CostCapError:
        return CostCapError(
            say(
                f"The cap of ${self.cost_cap:.2f} is reached: ${self.spent:.4f} spent, and the next request could cost "
                f"${max_cost:.4f}. Raise --max-cost and run the same command again to continue.",
                f"已到费用上限 ${self.cost_cap:.2f}：已花 ${self.spent:.4f}，下一个请求最多可能花 ${max_cost:.4f}。"
                "提高 --max-cost 后重新运行同一条命令即可继续。",
            )
        )
