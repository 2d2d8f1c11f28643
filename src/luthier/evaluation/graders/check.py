"""What is wrong with a grader whatever it grades: variables that cannot be, formulas that are none, labels unknown."""

from collections.abc import Iterator

from luthier.evaluation.graders.expression import Formula
from luthier.evaluation.graders.failures import GraderFailure
from luthier.evaluation.graders.templates import path_error, paths
from luthier.types.graders import (
    Grader,
    LabelModel,
    Multi,
    ScoreModel,
    StringCheck,
    SubGrader,
    TextPart,
    TextSimilarity,
)


def check(grader: Grader) -> tuple[str, str] | None:
    """(field, what is wrong with it) of the first thing that is; None when the grader can be run."""
    if isinstance(grader, Multi):
        return _check_multi(grader)
    return _check_one(grader)


def parts(grader: Grader) -> list[SubGrader]:
    """The graders that do the grading."""
    return list(grader.named().values()) if isinstance(grader, Multi) else [grader]


def _check_multi(grader: Multi) -> tuple[str, str] | None:
    named = grader.named()
    if isinstance(grader.graders, list) and len(named) < len(grader.graders):
        return "graders", "two graders have the same name, so the formula cannot tell them apart"
    for name, one in named.items():
        found = _check_one(one)
        if found:
            return f"graders.{name}.{found[0]}", found[1]
    try:
        formula = Formula(grader.calculate_output)
    except GraderFailure as error:
        return "calculate_output", str(error)
    unknown = sorted(formula.names - set(named))
    if unknown:
        known = ", ".join(f"'{name}'" for name in named)
        return "calculate_output", f"'{unknown[0]}' is the name of no grader; there are {known}"
    return None


def _check_one(grader: SubGrader) -> tuple[str, str] | None:
    for field, text in _texts(grader):
        for path in paths(text):
            error = path_error(path)
            if error:
                return field, error
    if isinstance(grader, LabelModel) and not set(grader.passing_labels) <= set(grader.labels):
        return "passing_labels", "passing labels are some of the labels"
    return None


def _texts(grader: SubGrader) -> Iterator[tuple[str, str]]:
    if isinstance(grader, StringCheck | TextSimilarity):
        yield "input", grader.input
        yield "reference", grader.reference
    elif isinstance(grader, ScoreModel | LabelModel):
        for message in grader.input:
            for part in message.content if isinstance(message.content, list) else [message.content]:
                if isinstance(part, str | TextPart):
                    yield "input", part if isinstance(part, str) else part.text
