"""Failures of a grader run, each with the flags that it sets in OpenAI's response."""

from typing import Any


class GraderFailure(Exception):  # noqa: N818 - the field's word: a grader fails, and the reward is 0
    """A grader failed. `flags`: fields of GraderErrors, with their values."""

    def __init__(self, message: str, **flags: Any) -> None:
        super().__init__(message)
        self.flags = flags


def invalid_variable(message: str) -> GraderFailure:
    return GraderFailure(message, invalid_variable_error=True)


def sample_not_json(message: str) -> GraderFailure:
    return GraderFailure(message, sample_parse_error=True)


def invalid_formula(message: str) -> GraderFailure:
    return GraderFailure(message, formula_parse_error=True)


def other_failure(message: str) -> GraderFailure:
    return GraderFailure(message, other_error=True)
