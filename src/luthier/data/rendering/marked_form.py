"""The base class of call forms with an opening mark: their grammar, with marks that may be tokens of the base model."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from luthier.data.jsonl import lossless_json


@dataclass(frozen=True)
class SpecialTokens:
    """(text, id) of tokens that were added to a base model's vocabulary. A grammar must name them by their ids.

    llguidance treats all of them as special: text in a grammar does not match them.
    """

    ids: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str], id_of: Callable[[str], int | None]) -> "SpecialTokens":
        longest_first = sorted(texts, key=len, reverse=True)
        return cls(tuple((text, token) for text in longest_first if (token := id_of(text)) is not None))

    def __contains__(self, text: str) -> bool:
        return any(text == token for token, _ in self.ids)

    def literal(self, text: str) -> str:
        """Lark for exactly this text."""
        for token, number in self.ids:
            before, mark, behind = text.partition(token)
            if mark:
                sides = (self.literal(side) if side else "" for side in (before, behind))
                return f"<[{number}]>".join(f" {side} " for side in sides).strip()
        return quoted(text)


def quoted(text: str) -> str:
    """Lark for text without special tokens."""
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class MarkedForm:
    """Calls begin with `mark`; `separator` is written between two calls, and `space` may surround them."""

    special: SpecialTokens = field(default_factory=SpecialTokens)
    mark: ClassVar[str]
    separator: ClassVar[str] = ""
    space: ClassVar[str] = ""
    marks_every_answer: ClassVar[bool] = False

    @property
    def lead_rule(self) -> str:
        return ""

    @property
    def text_rule(self) -> str:
        return f"TEXT: {self._text()}"

    def _text(self) -> str:
        return f"/(.|\\n)*/ & ~/(.|\\n)*{escaped(self.mark)}(.|\\n)*/"

    @property
    def no_call_rule(self) -> str:
        """Also excludes the beginning of the mark, because a model that cannot finish it writes a similar one, such as
        `<tool_call_call>`.
        """
        stem = re.match(r"\W*\w[a-z]*", self.mark, re.IGNORECASE)
        begun = escaped(stem[0] if stem else self.mark)
        return f"TEXT: /([^{escaped(self.mark[0])}](.|\\n)*)?/ & ~/(.|\\n)*{begun}(.|\\n)*/"

    def written_arguments(self, arguments: dict[str, Any], schema: Any) -> Any:
        return arguments

    def replayed_arguments(self, text: str) -> Any:
        """The JSON value of the text; if it is not JSON, the text itself, which the template quotes."""
        try:
            return lossless_json.DECODER.decode(text)
        except (ValueError, RecursionError):
            return text

    def grammar_rules(self, functions: Sequence[dict[str, Any]], *, parallel: bool) -> list[str]:
        rules = list(self._rules_of_calls(len(functions), parallel))
        for index, tool in enumerate(functions):
            rules += self._rules_of_call(f"call_{index}", tool["function"])
        return rules

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        """The rule `rule`, which matches what follows the mark in a call of this function, and the rules it needs."""
        raise NotImplementedError

    def _rules_of_calls(self, count: int, parallel: bool) -> Iterator[str]:
        between = f"{quoted(self.separator)} " if self.separator else ""
        more_calls = f" ({between}opening call)*" if parallel else ""
        space = f" {quoted(self.space)}?" if self.space else ""
        yield f"calls:{space} opening call{more_calls}{space}"
        yield f"text_and_calls: lead call{more_calls}{space}"
        yield from self._rules_of_lead()
        yield "call: " + " | ".join(f"call_{index}" for index in range(count))

    def _rules_of_lead(self) -> Iterator[str]:
        """The rule `opening` matches the mark, the rule `lead` text that ends with the mark."""
        if self.mark in self.special:
            yield f"lead: LEAD {self.special.literal(self.mark)}"
            yield f"LEAD: {self._text()}"
        else:
            yield f"lead[lazy]: /(.|\\n)*/ {quoted(self.mark)}"
        yield f"opening: {self.special.literal(self.mark)}"


def escaped(text: str) -> str:
    """The text, escaped for a regular expression of Lark."""
    return "".join(f"\\{char}" if char in "[]{}()|.*+?^$/\\" else char for char in text)
