"""The Hermes form: JSON with the name and the arguments between <tool_call> marks, as Qwen2.5 and others write it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.hermes_reader import CLOSE, OPEN, HermesReader
from luthier.data.rendering.marked_form import MarkedForm, quoted


@dataclass(frozen=True)
class HermesForm(MarkedForm):
    """The JSON has one space after commas and colons, like rendered training data."""

    name: ClassVar[str] = "hermes"
    mark: ClassVar[str] = OPEN
    separator: ClassVar[str] = "\n"

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> HermesReader:
        return HermesReader()

    def opening(self, function: str | None) -> str:
        if function is None:
            return f'{OPEN}\n{{"name":'
        return f'{OPEN}\n{{"name": {quoted(function)}, "arguments":'

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        beginning = f'\n{{"name": {quoted(function["name"])}, "arguments": '
        yield f"{rule}: {quoted(beginning)} {rule}_arguments {quoted('}')} {self.special.literal(chr(10) + CLOSE)}"
        yield from argument_rules(f"{rule}_arguments", close_schema(function.get("parameters")))


HERMES = HermesForm()
