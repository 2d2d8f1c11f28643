"""How many examples a property test draws: all in `make test`, a fifth of them where the fast ring runs alone."""

from hypothesis import settings


def example_count(count: int) -> int:
    """`count`, in proportion to the loaded profile, which draws 100 by default."""
    return max(5, count * settings().max_examples // 100)
