"""What requests cost, and a cap that is never passed: the worst case is reserved first, the true cost settled after.

Amounts are US dollars, prices US dollars per million tokens. Knows nothing about requests but their token counts.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from luthier.generate.errors import CostCapError
from luthier.language import say

# (prompt, completion) as OpenAI last published them for teachers in common use; flags overrule.
_KNOWN = {
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-3.5-turbo": (0.50, 1.50),
}
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


FREE = Price(0.0, 0.0)


def known_price(model: str) -> Price | None:
    """The published price of a plain or dated model name; None for any other model."""
    found = _KNOWN.get(_DATE.sub("", model))
    return Price(*found) if found else None


class Budget:
    """Counts the cost of one run and of the runs before it that share its journal. One event loop only."""

    def __init__(self, prices: Mapping[str, Price | None], cap: float | None = None, spent: float = 0.0) -> None:
        """`prices` by model, None where unknown: such a model counts nothing, and cannot be asked under a cap."""
        self._prices, self.cap, self.spent = prices, cap, spent
        self.unpriced: set[str] = set()  # models that were paid in earlier runs, nobody knows how much
        self._reserved = 0.0
        self._settled = asyncio.Condition()

    def price(self, model: str) -> Price | None:
        return self._prices.get(model)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        price = self.price(model)
        return price.cost(prompt_tokens, completion_tokens) if price else 0.0

    def earlier_cost(self, model: str, prompt_tokens: int, completion_tokens: int, price: Price | None) -> float | None:
        """At the price of that time, else at this run's, else at the published one; None where there is none."""
        price = price or self.price(model) or known_price(model)
        return price.cost(prompt_tokens, completion_tokens) if price else None

    def add_earlier(self, model: str, prompt_tokens: int, completion_tokens: int, price: Price | None) -> None:
        """Counts a request of an earlier run, which may have asked another model."""
        cost = self.earlier_cost(model, prompt_tokens, completion_tokens, price)
        if cost is None:
            self.unpriced.add(model)
        else:
            self.spent += cost

    @property
    def known(self) -> bool:
        """Whether every model that is asked, or was asked by an earlier run, has a price."""
        return not self.unpriced and all(price is not None for price in self._prices.values())

    async def reserve(self, worst: float) -> None:
        """Waits while requests under way may still turn out cheaper; raises CostCapError when there is no room."""
        if self.cap is None:
            return
        async with self._settled:
            while self.spent + self._reserved + worst > self.cap:
                if self._reserved <= 0:
                    raise self._full(worst)
                await self._settled.wait()
            self._reserved += worst

    async def settle(self, reserved: float, cost: float) -> None:
        """Gives a reservation back and counts what the request really cost."""
        async with self._settled:
            self.spent += cost
            if self.cap is not None:
                self._reserved = max(0.0, self._reserved - reserved)
                if self._reserved < 1e-12:
                    self._reserved = 0.0
            self._settled.notify_all()

    def _full(self, worst: float) -> CostCapError:
        return CostCapError(
            say(
                f"The cap of ${self.cap:.2f} is reached: ${self.spent:.4f} spent, and the next request could cost "
                f"${worst:.4f}. Raise --max-cost and run the same command again to go on.",
                f"已到费用上限 ${self.cap:.2f}：已花 ${self.spent:.4f}，下一个请求最多可能花 ${worst:.4f}。"
                "提高 --max-cost 后重新运行同一条命令即可继续。",
            )
        )
