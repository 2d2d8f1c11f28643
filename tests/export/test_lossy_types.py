"""Types of fewer than eight bits: what the gate lets through."""

import pytest

from luthier.data.rendering.parity_report import ParityReport
from luthier.data.rendering.parity_samples import ParitySample
from luthier.export.gate import _lossy_failure

LEARNT = 0.5  # nats that training changed at each token
SAMPLES = [ParitySample([1, 2], [1], [-0.1], [True], [-0.1 - LEARNT])] * 4


@pytest.mark.parametrize(
    ("difference", "exact", "reason"),
    [
        (0.1, 4, ""),
        (0.1, 2, ""),
        (0.1, 1, "1 of 4 exact answers"),
        (0.1, 0, "0 of 4 exact answers"),
        (0.6, 4, "rounding loses more than was learnt"),
    ],
)
def test_what_was_learnt_must_be_left(difference: float, exact: int, reason: str) -> None:
    report = ParityReport(difference, tokens=4, examples=4, top_differs=4 - exact)
    failure = _lossy_failure(report, exact, 4, SAMPLES)
    assert reason in failure
    assert bool(failure) == bool(reason)
