"""Scores the tool calls of one answer against the expected calls.

The rules are those of the AST check of the Berkeley Function-Calling Leaderboard, as far as they make sense for any
language (order-free pairing, lists of acceptable values, "" for "may be omitted"). Strict equality is added to its
lenient one.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from luthier.data.examples.tool_definitions import FunctionSchemas

# Ignored by the lenient comparison: the characters of the leaderboard's list, white space and Chinese punctuation.
_IGNORED_CHARACTERS = re.compile(r"[\s,./\-_*^，。、：；（）《》“”‘’]")
_CALL_MARKUP = re.compile(r"</?tool_call>|\"name\"\s*:\s*\"[^\"]*\"\s*,\s*\"(?:arguments|parameters)\"\s*:")
_MAX_PERMUTED_CALLS = 5  # up to this number, every pairing is tried; with more calls, the first match is taken


@dataclass(frozen=True)
class ExpectedCall:
    """An expected call. `acceptable`: for each argument, the values that count as correct; if "" is one of them, the
    argument may be omitted.
    """

    name: str
    arguments: dict[str, Any]
    acceptable: dict[str, list[Any]] | None = None


@dataclass(frozen=True)
class PredictedCall:
    """A call of the model. `text`: its arguments as sent; `arguments`: None if they are not a JSON object."""

    name: str
    text: str
    arguments: dict[str, Any] | None

    @classmethod
    def parse(cls, name: str, text: str) -> "PredictedCall":
        try:
            value = json.loads(text or "{}")
        except (ValueError, RecursionError):
            value = None
        return cls(name, text, value if isinstance(value, dict) else None)


@dataclass(frozen=True)
class Overlap:
    """Sizes of two multisets and of their intersection, for precision and recall."""

    common: int = 0
    predicted: int = 0
    expected: int = 0

    @classmethod
    def of(cls, predicted: "Counter[Any]", expected: "Counter[Any]") -> "Overlap":
        return cls((predicted & expected).total(), predicted.total(), expected.total())


@dataclass(frozen=True)
class CallValidity:
    """The number of calls and arguments in one answer, and how many of them are valid or unknown."""

    calls: int = 0
    valid_json: int = 0
    valid_schema: int = 0
    unknown_functions: int = 0
    arguments: int = 0
    unknown_arguments: int = 0


@dataclass(frozen=True)
class ToolCallScore:
    """The score of one answer. The rates of a report are computed from sums over these (`tool_call_report`).

    `exact`, `lenient`: whether the decision to call, the number of calls and every call are correct, by strict and by
    lenient comparison. `argument_overlap` counts (function, argument, value) triples. `schema_errors`: their number by
    kind. `unparsed`: whether a call stayed in the text. `confusion`: the (expected, predicted) first function; "" for
    no call.
    """

    expects_call: bool
    has_call: bool
    names_match: bool
    exact: bool
    lenient: bool
    validity: CallValidity
    schema_errors: Counter[str] = field(default_factory=Counter)
    name_overlap: Overlap = Overlap()
    argument_overlap: Overlap = Overlap()
    unparsed: bool = False
    confusion: tuple[str, str] = ("", "")

    @property
    def arguments_exact(self) -> bool:
        return self.expects_call and self.exact


def score_tool_calls(
    expected: list[ExpectedCall],
    predicted: list[PredictedCall],
    content: str | None,
    definitions: FunctionSchemas | None,
) -> ToolCallScore:
    """Scores one answer. Without `definitions`, schemas and function names are not checked."""
    expected_names = Counter(call.name for call in expected)
    predicted_names = Counter(call.name for call in predicted)
    names_match = expected_names == predicted_names  # implies the same decision and number of calls
    errors = [definitions.faults(call.name, call.arguments) for call in predicted] if definitions else []
    return ToolCallScore(
        expects_call=bool(expected),
        has_call=bool(predicted),
        names_match=names_match,
        exact=names_match and _all_paired(expected, predicted, lenient=False),
        lenient=names_match and _all_paired(expected, predicted, lenient=True),
        validity=_validity(predicted, errors),
        schema_errors=sum(errors, Counter()),
        name_overlap=Overlap.of(predicted_names, expected_names),
        argument_overlap=Overlap.of(
            _argument_triples((call.name, call.arguments or {}) for call in predicted),
            _argument_triples((call.name, call.arguments) for call in expected),
        ),
        unparsed=not predicted and bool(content) and bool(_CALL_MARKUP.search(content or "")),
        confusion=(expected[0].name if expected else "", predicted[0].name if predicted else ""),
    )


def _validity(predicted: list[PredictedCall], errors: list[Counter[str]]) -> CallValidity:
    return CallValidity(
        calls=len(predicted),
        valid_json=sum(call.arguments is not None for call in predicted),
        valid_schema=sum(not error for error in errors),
        unknown_functions=sum("unknown_function" in error for error in errors),
        arguments=sum(len(call.arguments or {}) for call in predicted),
        unknown_arguments=sum(error["unknown_argument"] for error in errors),
    )


def json_equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal. The order of keys is ignored, 1 equals 1.0, true does not equal 1, and strings
    are compared after NFKC normalization and without surrounding white space.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return unicodedata.normalize("NFKC", left).strip() == unicodedata.normalize("NFKC", right).strip()
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)


def normalize(value: Any) -> Any:
    """The value for the lenient comparison: its strings without case, width, white space and punctuation."""
    if isinstance(value, str):
        return _IGNORED_CHARACTERS.sub("", unicodedata.normalize("NFKC", value)).lower().replace("'", '"')
    if isinstance(value, dict):
        return {key: normalize(inner) for key, inner in value.items()}
    return [normalize(inner) for inner in value] if isinstance(value, list) else value


def _all_paired(expected: list[ExpectedCall], predicted: list[PredictedCall], *, lenient: bool) -> bool:
    """Whether the calls can be paired one to one, in any order, so that each pair matches."""
    if len(expected) != len(predicted):
        return False
    matches = [[_call_matches(call, other, lenient=lenient) for other in predicted] for call in expected]
    if len(expected) <= _MAX_PERMUTED_CALLS:
        return any(all(map(list.__getitem__, matches, order)) for order in permutations(range(len(expected))))
    unpaired = set(range(len(predicted)))
    for row in matches:
        match = next((index for index in sorted(unpaired) if row[index]), None)
        if match is None:
            return False
        unpaired.remove(match)
    return True


def _call_matches(expected: ExpectedCall, predicted: PredictedCall, *, lenient: bool) -> bool:
    if expected.name != predicted.name or predicted.arguments is None:
        return False
    acceptable = expected.acceptable or {key: [value] for key, value in expected.arguments.items()}
    if not predicted.arguments.keys() <= acceptable.keys():
        return False
    return all(
        any(_values_equal(value, predicted.arguments[key], lenient=lenient) for value in values)
        if key in predicted.arguments
        else "" in values and expected.acceptable is not None
        for key, values in acceptable.items()
    )


def _values_equal(left: Any, right: Any, *, lenient: bool) -> bool:
    return json_equal(normalize(left), normalize(right)) if lenient else json_equal(left, right)


def _argument_triples(calls: Iterable[tuple[str, dict[str, Any]]]) -> Counter[tuple[str, str, str]]:
    """(function, argument, normalized value) of every argument."""
    return Counter(
        (name, key, json.dumps(_integral_floats_as_int(normalize(value)), sort_keys=True))
        for name, arguments in calls
        for key, value in arguments.items()
    )


def _integral_floats_as_int(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integral_floats_as_int(inner) for key, inner in value.items()}
    return [_integral_floats_as_int(inner) for inner in value] if isinstance(value, list) else value
