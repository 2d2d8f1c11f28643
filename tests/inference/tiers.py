"""The CPU tiers of this machine, and the native engine on each."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from luthier.devices import Precision
from luthier.hardware import cpu_tiers
from luthier.inference.engines.native import library

TIERS = [] if library.unavailable() else [tier.name for tier in cpu_tiers()]
NARROW = [name for name in TIERS if name in ("avx2", "baseline")]  # whose float32 code is not that of the fastest
# All code that this machine can run: float32 is the same on all tiers with AVX-512.
TIERS_AND_PRECISIONS: list[tuple[str, Precision]] = [
    *((tier, "float32") for tier in dict.fromkeys((*TIERS[:1], *NARROW))),
    *((tier, "bfloat16") for tier in TIERS),
]


@contextmanager
def held_to(tier: str) -> Iterator[None]:
    """Engines that are built meanwhile run on this tier, in bfloat16 wherever it can, however slow."""
    tiers = cpu_tiers()
    below = tiers[[other.name for other in tiers].index(tier) :]
    with (
        patch.object(library, "cpu_tiers", lambda: below),
        patch.object(library, "cached_measurement", lambda *_: float("inf")),
    ):
        yield
