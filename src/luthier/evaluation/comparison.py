"""A paired comparison of one metric between two runs."""

from dataclasses import dataclass

from luthier.data.examples.tool_definitions import Shown
from luthier.evaluation.statistics import Difference


@dataclass(frozen=True)
class Comparison:
    """`second` against `first`: each a model with the definitions that it was sent."""

    metric: str
    first: tuple[str, Shown]
    second: tuple[str, Shown]
    difference: Difference
