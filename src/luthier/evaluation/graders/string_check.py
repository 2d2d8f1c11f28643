"""`string_check`: compares the input with a reference string."""

from collections.abc import Iterable
from typing import Any

from luthier.evaluation.graders.context import GraderContext
from luthier.evaluation.graders.grader_type import GraderType
from luthier.evaluation.graders.templates import Sample, fill
from luthier.types.graders import StringCheck


class StringCheckGrader(GraderType[StringCheck]):
    request = StringCheck

    def templates(self, grader: StringCheck) -> Iterable[tuple[str, str]]:
        return ("input", grader.input), ("reference", grader.reference)

    def reward(self, grader: StringCheck, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> float:
        text, reference = fill(grader.input, sample, data_item), fill(grader.reference, sample, data_item)
        match grader.operation:
            case "eq":
                return float(text == reference)
            case "ne":
                return float(text != reference)
            case "like":
                return float(reference in text)
            case "ilike":
                return float(reference.casefold() in text.casefold())
