"""Formulas: arithmetic as it is taught, and nothing else."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.evaluation.graders.expression import compute
from luthier.evaluation.graders.failures import GraderFailure
from property_examples import example_count

VALUES = {"a": 2.0, "b": 3.0, "style_score": 0.5, "名": 7.0}


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("a + b * 2", 8),
        ("(a + b) * 2", 10),
        ("a - b - 1", -2),
        ("b / a / 3", 0.5),
        ("2 ^ 3 ^ 2", 512),
        ("2 ** 3 ** 2", 512),
        ("-2 ^ 2", -4),
        ("2 ^ -1", 0.5),
        ("--a", 2),
        ("- - -a", -2),
        ("0.7*style_score + .3 * 1e0", 0.65),
        ("min(a, b, 1)", 1),
        ("max(a, min(b, 10))", 3),
        ("abs(a - b)", 1),
        ("floor(2.7) + ceil(2.1)", 5),
        ("exp(0) + sqrt(4) + log(1)", 3),
        ("名 + 1", 8),
        ("1" + " + 1" * 1000, 1001),
        ("-" * 2000 + "1", 1),
    ],
)
def test_results(formula: str, expected: float) -> None:
    assert compute(formula, VALUES) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("formula", "flag"),
    [
        ("0.5 * a + 0.5 * b)", "formula_parse_error"),  # as in OpenAI's own example
        ("(a", "formula_parse_error"),
        ("a b", "formula_parse_error"),
        ("a +", "formula_parse_error"),
        ("", "formula_parse_error"),
        ("a, b", "formula_parse_error"),
        ("a % b", "formula_parse_error"),
        ("a.__class__", "formula_parse_error"),
        ("'a'", "formula_parse_error"),
        ("print(a)", "formula_parse_error"),
        ("__import__(a)", "formula_parse_error"),
        ("sqrt(a, b)", "formula_parse_error"),
        ("min()", "formula_parse_error"),
        ("(" * 500 + "1" + ")" * 500, "formula_parse_error"),
        ("2^" * 500 + "1", "formula_parse_error"),
        ("min(" * 500 + "1" + ")" * 500, "formula_parse_error"),
        ("c + 1", "invalid_variable_error"),
        ("sqrt", "invalid_variable_error"),
        ("1 / (a - 2)", "other_error"),
        ("log(0)", "other_error"),
        ("sqrt(-1)", "other_error"),
        ("(0 - 1) ^ 0.5", "other_error"),
        ("9 ^ 9 ^ 9 ^ 9", "other_error"),
        ("exp(1000)", "other_error"),
        ("1e999", "other_error"),
        ("floor(1e999)", "other_error"),
    ],
)
def test_what_has_no_result(formula: str, flag: str) -> None:
    with pytest.raises(GraderFailure) as caught:
        compute(formula, VALUES)
    assert caught.value.flags == {flag: True}


@settings(max_examples=example_count(300))
@given(st.text("ab12.+-*/^(),emin ", max_size=30))
def test_any_text_has_a_result_or_a_flag(formula: str) -> None:
    """Where Python reads the same text, it gets the same number."""
    try:
        result = compute(formula, VALUES)
    except GraderFailure:
        return
    try:
        expected = eval(formula.replace("^", "**").strip(), {"min": min}, VALUES)  # noqa: S307 - letters a b e i m n
    except (SyntaxError, TypeError, OverflowError):
        return  # such as 01, which is no number to Python
    assert math.isclose(result, expected, rel_tol=1e-9, abs_tol=1e-12)
