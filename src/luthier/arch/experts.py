"""Mixture of experts, as a config describes it."""

from typing import NamedTuple


class GateClamp(NamedTuple):
    """The gate of gpt-oss: (u + 1) g sigmoid(alpha g), where g is at most `limit` and u within +-`limit`."""

    alpha: float
    limit: float


class Experts(NamedTuple):
    """`per_token`: how many experts compute each token. `layers`: per layer, whether it has experts."""

    per_token: int
    layers: tuple[bool, ...]
    clamp: GateClamp | None = None
