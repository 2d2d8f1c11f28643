"""Formulas of `multi` graders: `0.7 * style + 0.3 * min(facts, 1) ^ 2`, parsed by recursive descent.

The grammar has only numbers, names of graders, + - * / and powers (`^` or `**`), parentheses and eight functions, so
nothing else can be executed.
"""

import math
import re
from collections.abc import Callable, Mapping

from luthier.evaluation.graders.failures import invalid_formula, invalid_variable, other_failure

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*)|(\*\*|[-+*/^(),]))")
_MAX_DEPTH = 50
Evaluate = Callable[[Mapping[str, float]], float]

_FUNCTIONS: dict[str, tuple[int, int, Callable[..., float]]] = {  # minimum and maximum number of arguments, function
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
    """The value of a formula. Raises GraderFailure for an invalid formula, a name without a value, or a result that is
    not finite.
    """
    return Formula(formula)(values)


class Formula:
    """A parsed formula. `names`: the names of the graders in it."""

    def __init__(self, text: str) -> None:
        """Parses the text. Raises GraderFailure (formula_parse_error)."""
        self._text, self._position, self._depth = text, 0, 0
        self.names: set[str] = set()
        self._kind, self._token = "", ""
        self._next()
        self._evaluate = self._sum()
        if self._kind != "end":
            raise self._unexpected()

    def __call__(self, values: Mapping[str, float]) -> float:
        """The value of the formula for the graders' rewards by name. Raises GraderFailure."""
        try:
            result = float(self._evaluate(values))
        except KeyError as error:
            raise invalid_variable(f"there is no grader named {error}") from None
        except (ArithmeticError, ValueError) as error:
            raise other_failure(f"the formula has no result: {error}") from None
        if not math.isfinite(result):
            raise other_failure("the formula has no finite result")
        return result

    def _next(self) -> None:
        if not self._text[self._position :].strip():
            self._kind, self._token = "end", ""
            return
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise invalid_formula(
                f"the formula has a character that is not allowed: {self._text[self._position :].strip()[:20]}"
            )
        self._position = match.end()
        self._kind = ("number", "name", "sign")[match.lastindex - 1 if match.lastindex else 2]
        self._token = match[match.lastindex or 0]

    def _unexpected(self) -> Exception:
        token = "the end" if self._kind == "end" else f"'{self._token}'"
        return invalid_formula(f"unexpected in the formula: {token}, before character {self._position + 1}")

    def _expect(self, sign: str) -> None:
        if (self._kind, self._token) != ("sign", sign):
            raise self._unexpected()
        self._next()

    def _sign(self, *signs: str) -> str | None:
        """Consumes the next token and returns it if it is one of these signs."""
        if self._kind != "sign" or self._token not in signs:
            return None
        sign = self._token
        self._next()
        return sign

    def _sum(self) -> Evaluate:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise invalid_formula(f"the formula is nested deeper than {_MAX_DEPTH} levels")
        terms = [("+", self._product())]
        while sign := self._sign("+", "-"):
            terms.append((sign, self._product()))
        self._depth -= 1
        return lambda values: sum(term(values) if sign == "+" else -term(values) for sign, term in terms)

    def _product(self) -> Evaluate:
        factors = [("*", self._signed())]
        while sign := self._sign("*", "/"):
            factors.append((sign, self._signed()))
        return lambda values: _product(values, factors)

    def _signed(self) -> Evaluate:
        """Unary signs bind less tightly than powers: -2 ^ 2 is -4. Repeated signs are counted, not nested."""
        negative = False
        while sign := self._sign("-", "+"):
            negative ^= sign == "-"
        power = self._power()
        return (lambda values: -power(values)) if negative else power

    def _power(self) -> Evaluate:
        """Right-associative: 2 ^ 3 ^ 2 is 2 ^ 9."""
        base = self._atom()
        if not self._sign("^", "**"):
            return base
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise invalid_formula(f"the formula is nested deeper than {_MAX_DEPTH} levels")
        exponent = self._signed()
        self._depth -= 1
        return lambda values: math.pow(base(values), exponent(values))

    def _atom(self) -> Evaluate:
        kind, token = self._kind, self._token
        if self._sign("("):
            inner = self._sum()
            self._expect(")")
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

    def _call(self, name: str) -> Evaluate:
        arguments = [self._sum()]
        while self._sign(","):
            arguments.append(self._sum())
        self._expect(")")
        min_arguments, max_arguments, function = _FUNCTIONS.get(name, (0, -1, abs))
        if not min_arguments <= len(arguments) <= max_arguments:
            names = ", ".join(_FUNCTIONS)
            raise invalid_formula(
                f"there is no function {name} with {len(arguments)} argument(s); the functions are {names}"
            )
        return lambda values: function(*(argument(values) for argument in arguments))


def _product(values: Mapping[str, float], factors: list[tuple[str, Evaluate]]) -> float:
    result = 1.0
    for sign, factor in factors:
        result = result * factor(values) if sign == "*" else result / factor(values)
    return result
