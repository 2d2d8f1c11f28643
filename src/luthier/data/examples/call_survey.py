"""Statistics of the calls in a training file: functions, their arguments, and which of these are copied or chosen.

An argument is copied if its values occur verbatim in the conversation before the call. A small model that has learnt
which argument comes next may still misspell its value, truncate it, or write one that it has seen more often. If the
file always copies an argument, such errors can be prevented: the value is constrained to spans of the conversation.

An argument is a choice if most of its values do not occur there ("last quarter" becomes "3m") and the file repeats
nearly all of them: then its values are those of the file.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from luthier.data.examples.example import calls_in, name_of
from luthier.data.examples.stated_numbers import stated_numbers
from luthier.data.examples.tool_definitions import Tools, collect_definitions
from luthier.data.jsonl import lossless_json

MIN_VALUES = 10  # values of an argument, or calls of a function; fewer say little about the next one
MAX_CHARACTERS = 4000  # of a conversation from which values are copied; the grammar of a longer one compiles slowly
_MAX_EXCEPTIONS = 0.01  # of the values of an argument, which are taken for mistakes in the file
_MAX_UNSEEN = 0.1  # of the values of a choice: the estimated share that the file does not have
_MAX_CHOICES = 64
_PIECE = re.compile(r"\d+(?:[.,]\d+)+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|\s+|.", re.DOTALL)

_TYPES = {str: "string", bool: "boolean", int: "number"}  # integers alone do not rule out fractions

# By function and argument: what may follow a value in the text that it is copied from (`following`); None: anything.
CopiedArguments = dict[str, dict[str, list[str] | None]]


def pieces(text: str) -> list[str]:
    """The pieces of a text at whose boundaries a copied value may begin or end: words, numbers, Chinese characters."""
    return _PIECE.findall(text)


def following(text_pieces: Sequence[str]) -> str:
    """The first piece that is not white space: in lower case, "0" for any number; "" if there is none."""
    first_piece = next((piece.lower() for piece in text_pieces if not piece.isspace()), "")
    return "0" if first_piece[:1].isdigit() else first_piece


class CopySource:
    """The texts from which a value may be copied: those of all messages except system and developer messages."""

    def __init__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        sources = [message for message in messages if message.get("role") not in ("system", "developer")]
        self.texts = [text for message in sources for text in _texts(message.get("content"))]

    @property
    def is_usable(self) -> bool:
        """Whether there is any text, and not too much."""
        return 0 < sum(map(len, self.texts)) <= MAX_CHARACTERS

    @cached_property
    def numbers(self) -> set[float]:
        return {number for text in self.texts for number in stated_numbers(text)}

    def states(self, value: Any) -> bool:
        """Whether the value is a number that a text states."""
        return isinstance(value, int | float) and not isinstance(value, bool) and float(value) in self.numbers

    def ends(self, value: str) -> frozenset[str]:
        """What follows each occurrence of the value as consecutive pieces of a text; empty if it does not occur."""
        return frozenset(end for text in self.texts if value and value in text for end in _ends(value, text))


@dataclass
class _Argument:
    """Counts of the values of one argument: all of them, those compared with a usable source, those copied from it.

    `ends` counts, for the copied strings, the sets of what follows them in their sources. `strings` counts values until
    there are too many for a choice.
    """

    values: int = 0
    compared: int = 0
    copied: int = 0
    types: set[str] = field(default_factory=set)
    ends: Counter[frozenset[str]] = field(default_factory=Counter)
    strings: Counter[str] = field(default_factory=Counter)

    def add(self, value: Any, source: CopySource) -> None:
        self.values += 1
        self.types.add(_TYPES.get(type(value), "number" if isinstance(value, float) else ""))
        if isinstance(value, str) and len(self.strings) <= _MAX_CHOICES:
            self.strings[value] += 1
        if not source.is_usable:
            return
        self.compared += 1
        ends = source.ends(value) if isinstance(value, str) else frozenset()
        self.copied += bool(ends) or source.states(value)
        if ends:
            self.ends[ends] += 1

    @property
    def is_copied(self) -> bool:
        return self.compared >= MIN_VALUES and self._is_rule(self.compared - self.copied)

    def closed_ends(self) -> list[str] | None:
        """Everything that may follow a copied value, sorted; None if the file does not show all of it.

        It does not if more than 1 % of the values are followed only by what follows no other value: this share
        estimates how often that will be so for a new question (Good and Turing).
        """
        counts: Counter[str] = Counter()
        for ends, count in self.ends.items():
            counts.update(dict.fromkeys(ends, count))
        unrepeated = sum(count for ends, count in self.ends.items() if all(counts[end] == 1 for end in ends))
        return sorted(counts) if counts and self._is_rule(unrepeated) else None

    def _is_rule(self, exceptions: int) -> bool:
        return exceptions <= _MAX_EXCEPTIONS * self.compared

    @property
    def is_choice(self) -> bool:
        """Whether nearly all values of new calls will be among `strings`.

        The share of values that occur once estimates how often a new value will be none of them (Good and Turing).
        """
        if self.types != {"string"} or len(self.strings) > _MAX_CHOICES or 2 * self.copied > self.compared:
            return False
        unrepeated = sum(count == 1 for count in self.strings.values())
        return self.compared >= MIN_VALUES and unrepeated <= _MAX_UNSEEN * self.values

    @property
    def schema(self) -> dict[str, Any]:
        if self.is_choice:
            return {"type": "string", "enum": sorted(self.strings)}
        return {"type": next(iter(self.types))} if len(self.types) == 1 and "" not in self.types else {}


class CallSurvey:
    """Collects the calls of a file's conversations."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._arguments: dict[str, dict[str, _Argument]] = {}

    def add(self, messages: Sequence[dict[str, Any]]) -> None:
        for index, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            source = CopySource(messages[:index])
            for _, function in calls_in(message):
                self._add_call(function, source)

    def _add_call(self, function: Any, source: CopySource) -> None:
        name, values = name_of(function), arguments_of(function)
        if name is None or values is None:
            return
        self._calls[name] += 1
        arguments = self._arguments.setdefault(name, {})
        for argument, value in values.items():
            arguments.setdefault(argument, _Argument()).add(value, source)

    def copied(self) -> CopiedArguments:
        """By function, the arguments with at least MIN_VALUES compared values, of which at most 1 % were not copied."""
        return {
            function: {name: argument.closed_ends() for name, argument in arguments.items() if argument.is_copied}
            for function, arguments in self._arguments.items()
        }

    def definitions(self, defined: Collection[str]) -> Tools:
        """Definitions of the called functions that are not `defined`, inferred from their calls.

        With MIN_VALUES calls or more, a function has the arguments that occurred, and requires those that every call
        has; with fewer, it may have any.
        """
        return [self._definition(name) for name in self._calls if name not in defined]

    def _definition(self, name: str) -> dict[str, Any]:
        parameters: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}
        if self._calls[name] >= MIN_VALUES:
            arguments = self._arguments[name]
            parameters["properties"] = {key: argument.schema for key, argument in arguments.items()}
            required = [key for key, argument in arguments.items() if argument.values == self._calls[name]]
            parameters |= {"required": required, "additionalProperties": False}
        return {"type": "function", "function": {"name": name, "parameters": parameters}}


def merge_inferred(newer: Tools, older: Tools) -> Tools:
    """The inferred definitions of two files that a model has learnt, those of `newer` first.

    A choice of the newer file has the values of both, and is none if those of the older file were free.
    """
    older_parameters = {tool["function"]["name"]: tool["function"]["parameters"] for tool in older}
    merged = collect_definitions([newer, older])
    for tool in merged:
        parameters = older_parameters.get(tool["function"]["name"])
        if parameters is None:
            continue
        # None: the older file has no such argument.
        absent_schema: dict[str, Any] | None = {} if parameters["additionalProperties"] else None
        for name, schema in tool["function"]["parameters"]["properties"].items():
            older_schema = parameters["properties"].get(name, absent_schema)
            if "enum" not in schema or older_schema is None:
                continue
            choices = {*schema.pop("enum"), *older_schema.get("enum", ())}
            if "enum" in older_schema:
                schema["enum"] = sorted(choices)
    return merged


def arguments_of(function: Any) -> dict[str, Any] | None:
    """The arguments of a call, which may be malformed; None if they are not a JSON object."""
    text = function.get("arguments") if isinstance(function, dict) else None
    try:
        arguments = lossless_json.DECODER.decode(text) if isinstance(text, str) and text else text
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


def _ends(value: str, text: str) -> Iterator[str]:
    text_pieces = pieces(text)
    places, offset = {0: 0}, 0
    for place, piece in enumerate(text_pieces, start=1):
        offset += len(piece)
        places[offset] = place
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if start in places and end in places:
            yield following(text_pieces[places[end] :])
        start = text.find(value, start + 1)


def _texts(content: Any) -> list[str]:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return [text for text in texts if isinstance(text, str) and text]
