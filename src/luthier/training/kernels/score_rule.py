"""How attention scores are computed from queries and keys."""

from typing import NamedTuple

from luthier.training.packing.packed_layout import Layout


class ScoreRule(NamedTuple):
    """`window`: the tokens that a query reaches back, itself included; None for all.

    `softcap`: scores are softcap x tanh(score / softcap), where it is given.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None

    def is_plain(self, layout: Layout) -> bool:
        """Whether every token attends to all earlier tokens of its example, by scaled scores."""
        return self.softcap is None and (not self.window or self.window >= layout.longest)
