"""The Hermes form of calls: JSON with name and arguments between <tool_call> marks, as Qwen2.5 and others write it."""

import json
from collections.abc import Sequence
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.hermes_reader import CLOSE, OPEN, HermesReader


class HermesForm:
    name = "hermes"
    text_rule = f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{OPEN}(.|\\n)*/"

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> HermesReader:
        return HermesReader()

    def opening(self, function: str | None) -> str:
        if function is None:
            return f'{OPEN}\n{{"name":'
        return f'{OPEN}\n{{"name": {_quoted(function)}, "arguments":'

    def grammar_rules(self, functions: Sequence[dict[str, Any]], *, parallel: bool) -> list[str]:
        """JSON has one space after commas and colons, as rendered training data has."""
        more_calls = ' ("\\n" opening call)*' if parallel else ""
        rules = [
            f"calls: opening call{more_calls}",
            f"text_and_calls: lead call{more_calls}",
            f"lead[lazy]: /(.|\\n)*/ {_quoted(OPEN)}",
            f"opening: {_quoted(OPEN)}",
            "call: " + " | ".join(f"call_{index}" for index in range(len(functions))),
        ]
        for index, tool in enumerate(functions):
            rules += _call_rules(index, tool["function"])
        return rules

    def replayed_arguments(self, text: str) -> Any:
        """The JSON value that the text is, else the text itself, which the template quotes."""
        try:
            return lossless_json.DECODER.decode(text)
        except (ValueError, RecursionError):
            return text


def _call_rules(index: int, function: dict[str, Any]) -> list[str]:
    beginning = f'\n{{"name": {_quoted(function["name"])}, "arguments": '
    return [
        f"call_{index}: {_quoted(beginning)} arguments_{index} {_quoted('}')} {_quoted(chr(10) + CLOSE)}",
        *argument_rules(f"arguments_{index}", close_schema(function.get("parameters"))),
    ]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


HERMES = HermesForm()
