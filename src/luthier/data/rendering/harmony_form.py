"""The form of gpt-oss (harmony): an answer is a list of messages, each with a channel or the function that it calls.

`<|channel|>final<|message|>Yes.` is text, ` to=functions.get_price<|channel|>commentary json<|message|>{"code": "A"}` a
call, and messages in the channel `analysis` are reasoning. A model ends its answer after a call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.harmony_reader import CALL_MARKS, CHANNEL, FUNCTIONS, MESSAGE, HarmonyReader
from luthier.data.rendering.marked_form import MarkedForm, escaped


@dataclass(frozen=True)
class HarmonyForm(MarkedForm):
    name: ClassVar[str] = "harmony"
    mark: ClassVar[str] = FUNCTIONS
    marks_every_answer: ClassVar[bool] = True

    @property
    def lead_rule(self) -> str:
        return f"{self.special.literal(f'{CHANNEL}final{MESSAGE}')} "

    @property
    def text_rule(self) -> str:
        marks = "|".join(escaped(mark) for mark in CALL_MARKS)
        return f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*({marks})(.|\\n)*/"

    @property
    def no_call_rule(self) -> str:
        return self.text_rule

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> HarmonyReader:
        return HarmonyReader()

    def opening(self, function: str | None) -> str:
        return FUNCTIONS if function is None else f"{FUNCTIONS}{function}{CHANNEL}commentary json{MESSAGE}"

    def _rules_of_calls(self, count: int, parallel: bool) -> Iterator[str]:
        yield "calls: " + " | ".join(f"call_{index}" for index in range(count))
        yield "text_and_calls: calls"

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        yield f"{rule}: {self.special.literal(self.opening(function['name']))} {rule}_arguments"
        yield from argument_rules(f"{rule}_arguments", close_schema(function.get("parameters")))
