"""What may go wrong while grading, each as the flag of OpenAI's answer that it sets."""

from typing import Any


class GraderFailure(Exception):  # noqa: N818 - the field's word: a grader fails, and the reward is 0
    """`flags`: fields of GraderErrors with their values."""

    def __init__(self, message: str, **flags: Any) -> None:
        super().__init__(message)
        self.flags = flags


def invalid_variable(message: str) -> GraderFailure:
    return GraderFailure(message, invalid_variable_error=True)


def sample_parse(message: str) -> GraderFailure:
    return GraderFailure(message, sample_parse_error=True)


def formula_parse(message: str) -> GraderFailure:
    return GraderFailure(message, formula_parse_error=True)


def other(message: str) -> GraderFailure:
    return GraderFailure(message, other_error=True)
