"""Formulas of `multi` graders, read and computed by hand: `0.7 * style + 0.3 * min(facts, 1) ^ 2`.

Numbers, the graders' names, + - * / and powers (`^` or `**`), parentheses and seven functions: there is nothing else
that a formula can say, so there is nothing else that it can do.
"""

import math
import re
from collections.abc import Callable, Mapping

from luthier.evaluation.graders.failures import formula_parse, invalid_variable, other

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*)|(\*\*|[-+*/^(),]))")
_DEEPEST = 50
Compute = Callable[[Mapping[str, float]], float]

_FUNCTIONS: dict[str, tuple[int, int, Callable[..., float]]] = {  # least and most arguments
    "min": (1, 99, min),
    "max": (1, 99, max),
    "abs": (1, 1, abs),
    "floor": (1, 1, math.floor),
    "ceil": (1, 1, math.ceil),
    "exp": (1, 1, math.exp),
    "sqrt": (1, 1, math.sqrt),
    "log": (1, 1, math.log),
}


def compute(formula: str, values: Mapping[str, float]) -> float:
    """Raises GraderFailure: for what is no formula, for a name without a value, for what has no finite result."""
    return Formula(formula)(values)


class Formula:
    def __init__(self, text: str) -> None:
        """Raises GraderFailure (formula_parse_error)."""
        self._text, self._at, self._depth = text, 0, 0
        self.names: set[str] = set()
        self._kind, self._token = "", ""
        self._next()
        self._compute = self._sum()
        if self._kind != "end":
            raise self._unexpected()

    def __call__(self, values: Mapping[str, float]) -> float:
        """Raises GraderFailure."""
        try:
            result = float(self._compute(values))
        except KeyError as error:
            raise invalid_variable(f"{error} is the name of no grader") from None
        except (ArithmeticError, ValueError) as error:
            raise other(f"the formula has no result: {error}") from None
        if not math.isfinite(result):
            raise other("the formula has no finite result")
        return result

    def _next(self) -> None:
        if not self._text[self._at :].strip():
            self._kind, self._token = "end", "its end"
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise formula_parse(f"the formula has a character that formulas do not have: {self._text[self._at :][:20]}")
        self._at = found.end()
        self._kind = ("number", "name", "sign")[found.lastindex - 1 if found.lastindex else 2]
        self._token = found[found.lastindex or 0]

    def _unexpected(self) -> Exception:
        return formula_parse(f"unexpected in the formula: '{self._token}', before character {self._at + 1}")

    def _take(self, sign: str) -> None:
        if (self._kind, self._token) != ("sign", sign):
            raise self._unexpected()
        self._next()

    def _sign(self, *signs: str) -> str | None:
        """The sign that comes next, taken, if it is one of these."""
        if self._kind != "sign" or self._token not in signs:
            return None
        sign = self._token
        self._next()
        return sign

    def _sum(self) -> Compute:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise formula_parse(f"the formula is nested deeper than {_DEEPEST} levels")
        terms = [("+", self._product())]
        while sign := self._sign("+", "-"):
            terms.append((sign, self._product()))
        self._depth -= 1
        return lambda values: sum(term(values) if sign == "+" else -term(values) for sign, term in terms)

    def _product(self) -> Compute:
        factors = [("*", self._signed())]
        while sign := self._sign("*", "/"):
            factors.append((sign, self._signed()))
        return lambda values: _product(values, factors)

    def _signed(self) -> Compute:
        """A sign binds less than a power: -2 ^ 2 is -4. Many signs in a row are counted, not nested."""
        negative = False
        while sign := self._sign("-", "+"):
            negative ^= sign == "-"
        power = self._power()
        return (lambda values: -power(values)) if negative else power

    def _power(self) -> Compute:
        """From the right: 2 ^ 3 ^ 2 is 2 ^ 9."""
        base = self._atom()
        if not self._sign("^", "**"):
            return base
        self._depth += 1
        if self._depth > _DEEPEST:
            raise formula_parse(f"the formula is nested deeper than {_DEEPEST} levels")
        exponent = self._signed()
        self._depth -= 1
        return lambda values: math.pow(base(values), exponent(values))

    def _atom(self) -> Compute:
        kind, token = self._kind, self._token
        if self._sign("("):
            inner = self._sum()
            self._take(")")
            return inner
        if kind not in ("number", "name"):
            raise self._unexpected()
        self._next()
        if kind == "number":
            number = float(token)
            return lambda values: number
        if self._sign("("):
            return self._call(token)
        self.names.add(token)
        return lambda values: values[token]

    def _call(self, name: str) -> Compute:
        arguments = [self._sum()]
        while self._sign(","):
            arguments.append(self._sum())
        self._take(")")
        least, most, function = _FUNCTIONS.get(name, (0, -1, abs))
        if not least <= len(arguments) <= most:
            known = ", ".join(_FUNCTIONS)
            raise formula_parse(f"no function {name} with {len(arguments)} arguments; there are {known}")
        return lambda values: function(*(argument(values) for argument in arguments))


def _product(values: Mapping[str, float], factors: list[tuple[str, Compute]]) -> float:
    result = 1.0
    for sign, factor in factors:
        result = result * factor(values) if sign == "*" else result / factor(values)
    return result
