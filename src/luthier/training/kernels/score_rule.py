"""The rule by which attention scores are computed from queries and keys."""

from typing import NamedTuple

from luthier.training.packing.packed_layout import Layout


class ScoreRule(NamedTuple):
    """`window`: the tokens that a query reaches back, itself included; None for all.

    `softcap`: scores are softcap x tanh(score / softcap), where it is given.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None

    def kernel_arguments(self, layout: Layout) -> tuple[float, float, int]:
        """(scale, soft cap or 0, window or 0), as the compiled kernels take them."""
        return float(self.scale), float(self.softcap or 0), self.window or 0 if self.has_window(layout) else 0

    def has_window(self, layout: Layout) -> bool:
        """Whether some token attends to fewer than all earlier tokens of its example."""
        return self.window is not None and 0 < self.window < layout.longest
