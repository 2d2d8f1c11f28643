"""One answer against the calls that were expected: what was right, what was not, and how it was wrong.

The rules are those of the Berkeley Function-Calling Leaderboard's AST check where they make sense for any language
(order-free pairing, lists of acceptable values, "" for "may be left out"), with strict equality beside its lenient
one. Knows nothing about models, requests or files.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from luthier.data.examples.tool_definitions import Definitions

# What the lenient comparison drops: the leaderboard's list, white space, and Chinese punctuation.
_DROPPED = re.compile(r"[\s,./\-_*^，。、：；（）《》“”‘’]")
_MARKUP = re.compile(r"</?tool_call>|\"name\"\s*:\s*\"[^\"]*\"\s*,\s*\"(?:arguments|parameters)\"\s*:")
_MOST_PAIRINGS = 5  # calls of one answer up to which every pairing is tried; beyond, the first that fits is taken


@dataclass(frozen=True)
class Expected:
    """`acceptable`: for each argument the values that count as right; an "" among them: it may be left out."""

    name: str
    arguments: dict[str, Any]
    acceptable: dict[str, list[Any]] | None = None


@dataclass(frozen=True)
class Predicted:
    """A call as it came. `arguments` is None when its text is no JSON object."""

    name: str
    text: str
    arguments: dict[str, Any] | None

    @classmethod
    def read(cls, name: str, text: str) -> "Predicted":
        try:
            value = json.loads(text or "{}")
        except (ValueError, RecursionError):
            value = None
        return cls(name, text, value if isinstance(value, dict) else None)


@dataclass(frozen=True)
class Verdict:
    """One answer. The rates of a report are sums of these fields; see `card`.

    `exact`, `match`: the decision, the number and every call are right, with strict and with lenient comparison.
    `found`, `said`, `wanted`: (function, argument, value) triples for precision and recall; likewise the names.
    `faults`: how often each way to break a schema occurs.
    """

    wanted_call: bool
    called: bool
    names_right: bool
    exact: bool
    match: bool
    arguments_exact: bool
    arguments_match: bool
    calls: int = 0
    json_valid: int = 0
    schema_valid: int = 0
    unknown_functions: int = 0
    arguments: int = 0
    unknown_arguments: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    names_found: int = 0
    names_said: int = 0
    names_wanted: int = 0
    found: int = 0
    said: int = 0
    wanted: int = 0
    unparsed: bool = False
    confusion: tuple[str, str] = ("", "")  # (wanted function, said function); "" stands for no call


def judge(
    wanted: list[Expected], predicted: list[Predicted], content: str | None, definitions: Definitions | None
) -> Verdict:
    """The verdict on one answer. Without `definitions` nothing is said about schemas and unknown names."""
    right_decision = bool(wanted) == bool(predicted)
    names = Counter(one.name for one in wanted), Counter(one.name for one in predicted)
    names_right = names[0] == names[1]
    exact = names_right and _all_pair(wanted, predicted, lenient=False)
    match = names_right and _all_pair(wanted, predicted, lenient=True)
    triples = (
        _triples((one.name, one.arguments) for one in wanted),
        _triples((one.name, one.arguments or {}) for one in predicted),
    )
    checked = [definitions.faults(one.name, one.arguments) for one in predicted] if definitions else []
    return Verdict(
        wanted_call=bool(wanted),
        called=bool(predicted),
        names_right=names_right,
        exact=right_decision and exact,
        match=right_decision and match,
        arguments_exact=bool(wanted) and exact,
        arguments_match=bool(wanted) and match,
        calls=len(predicted),
        json_valid=sum(one.arguments is not None for one in predicted),
        schema_valid=sum(not faults for faults in checked),
        unknown_functions=sum("unknown_function" in faults for faults in checked),
        arguments=sum(len(one.arguments or {}) for one in predicted),
        unknown_arguments=sum(faults["unknown_argument"] for faults in checked),
        faults=sum(checked, Counter()),
        names_found=(names[0] & names[1]).total(),
        names_said=names[1].total(),
        names_wanted=names[0].total(),
        found=(triples[0] & triples[1]).total(),
        said=triples[1].total(),
        wanted=triples[0].total(),
        unparsed=not predicted and bool(content) and bool(_MARKUP.search(content or "")),
        confusion=(wanted[0].name if wanted else "", predicted[0].name if predicted else ""),
    )


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: key order is free, 1 is 1.0, true is not 1, strings after NFKC and without outer space."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        return unicodedata.normalize("NFKC", one).strip() == unicodedata.normalize("NFKC", other).strip()
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def normalised(value: Any) -> Any:
    """For the lenient comparison: strings without case, width, white space and punctuation."""
    if isinstance(value, str):
        return _DROPPED.sub("", unicodedata.normalize("NFKC", value)).lower().replace("'", '"')
    if isinstance(value, dict):
        return {key: normalised(item) for key, item in value.items()}
    return [normalised(item) for item in value] if isinstance(value, list) else value


def _all_pair(wanted: list[Expected], predicted: list[Predicted], *, lenient: bool) -> bool:
    """Whether each expected call has a predicted one of its own, in any order."""
    if len(wanted) != len(predicted):
        return False
    fits = [[_fits(one, other, lenient=lenient) for other in predicted] for one in wanted]
    if len(wanted) <= _MOST_PAIRINGS:
        return any(all(map(list.__getitem__, fits, order)) for order in permutations(range(len(wanted))))
    free = set(range(len(predicted)))
    for row in fits:
        place = next((index for index in sorted(free) if row[index]), None)
        if place is None:
            return False
        free.remove(place)
    return True


def _fits(wanted: Expected, said: Predicted, *, lenient: bool) -> bool:
    if wanted.name != said.name or said.arguments is None:
        return False
    allowed = wanted.acceptable or {key: [value] for key, value in wanted.arguments.items()}
    if not said.arguments.keys() <= allowed.keys():
        return False
    return all(
        any(_equal(value, said.arguments[key], lenient=lenient) for value in values)
        if key in said.arguments
        else "" in values and wanted.acceptable is not None
        for key, values in allowed.items()
    )


def _equal(one: Any, other: Any, *, lenient: bool) -> bool:
    return same(normalised(one), normalised(other)) if lenient else same(one, other)


def _triples(calls: Iterable[tuple[str, dict[str, Any]]]) -> Counter[tuple[str, str, str]]:
    return Counter(
        (name, key, json.dumps(_plain(normalised(value)), sort_keys=True))
        for name, arguments in calls
        for key, value in arguments.items()
    )


def _plain(value: Any) -> Any:
    """1 and 1.0 written alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
