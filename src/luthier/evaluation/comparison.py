"""A paired comparison of one metric between two runs."""

from dataclasses import dataclass

from luthier.data.examples.tool_definitions import DefinitionDetail
from luthier.evaluation.statistics import Difference


@dataclass(frozen=True)
class Comparison:
    """`second` compared with `first`. Each is a model with the detail of the definitions that it was sent."""

    metric: str
    first: tuple[str, DefinitionDetail]
    second: tuple[str, DefinitionDetail]
    difference: Difference
