"""Finds faults of a grader that do not depend on what it grades: impossible variables, invalid formulas, unknown
labels.
"""

from luthier.evaluation.graders.expression import Formula
from luthier.evaluation.graders.failures import GraderFailure
from luthier.evaluation.graders.grader_type import grader_type
from luthier.evaluation.graders.templates import template_error
from luthier.types.graders import Grader, Multi, SubGrader


def validate_grader(grader: Grader | SubGrader) -> tuple[str, str] | None:
    """(field, message) of the first fault; None for a valid grader."""
    return _multi_problem(grader) if isinstance(grader, Multi) else _problem(grader)


def sub_graders(grader: Grader | SubGrader) -> list[SubGrader]:
    """The parts of a `multi` grader; for any other grader, a list of itself."""
    return list(grader.named().values()) if isinstance(grader, Multi) else [grader]


def _multi_problem(grader: Multi) -> tuple[str, str] | None:
    by_name = grader.named()
    if isinstance(grader.graders, list) and len(by_name) < len(grader.graders):
        return "graders", "two graders have the same name; give each its own, because the formula refers to it"
    for name, part in by_name.items():
        problem = _problem(part)
        if problem:
            return f"graders.{name}.{problem[0]}", problem[1]
    try:
        formula = Formula(grader.calculate_output)
    except GraderFailure as error:
        return "calculate_output", str(error)
    unknown = sorted(formula.names - set(by_name))
    if unknown:
        names = ", ".join(f"'{name}'" for name in by_name)
        return "calculate_output", f"there is no grader named '{unknown[0]}'; the graders are {names}"
    return None


def _problem(grader: SubGrader) -> tuple[str, str] | None:
    kind = grader_type(grader.type)
    for field, text in kind.templates(grader):
        error = template_error(text)
        if error:
            return field, error
    return kind.problem(grader)
