"""Call forms: how a base model writes function calls, how generated ones are parsed, and how generation is constrained.

A chat template writes definitions, calls and results into the prompt; everything else that depends on the form is
behind `CallForm`, so that another form is one more implementation of it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luthier.data.examples.messages import Answer, Call


@dataclass(frozen=True)
class VisibleText:
    """Text of the answer that a user sees; `start`: its offset in the generated text."""

    text: str
    start: int


@dataclass(frozen=True)
class CallStart:
    """A call begins; its arguments follow."""

    name: str


@dataclass(frozen=True)
class ArgumentsText:
    """The next piece of the JSON text of a call's arguments, as the model wrote it."""

    text: str


@dataclass(frozen=True)
class ReasoningText:
    """The next piece of the model's reasoning, which is not part of its answer."""

    text: str


CallEvent = VisibleText | CallStart | ArgumentsText | ReasoningText


class CallReader(Protocol):
    """Reads one generated answer in pieces. How it is cut does not matter: the joined texts of the events are equal."""

    def feed(self, piece: str) -> list[CallEvent]:
        """The events that are certain after this piece. Text that may turn out to be markup is held back."""
        ...

    def finish(self, *, cut_off: bool) -> list[CallEvent]:
        """The events for the text that was held back.

        Args:
            cut_off: Whether generation stopped before the model ended its answer. Then a call that has begun counts as
                a call with its arguments so far, and the beginning of markup is dropped; otherwise an incomplete call
                counts as text.
        """
        ...


class CallForm(Hashable, Protocol):
    """How a base model writes calls."""

    @property
    def name(self) -> str: ...

    @property
    def marks_every_answer(self) -> bool:
        """Whether answers of text and reasoning have marks as well, which the reader removes."""
        ...

    @property
    def lead_rule(self) -> str:
        """Lark for the marks before an answer of text, followed by a space; empty if there are none."""
        ...

    @property
    def text_rule(self) -> str:
        """The Lark terminal `TEXT`, which matches text in which no call begins."""
        ...

    @property
    def no_call_rule(self) -> str:
        """The Lark terminal `TEXT` for answers in which calls are forbidden.

        It also excludes the text that a model tends to write instead of the mark when the mark is forbidden.
        """
        ...

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> CallReader:
        """A reader for one answer. `functions`: the definitions, for forms that do not show the types of arguments."""
        ...

    def written_arguments(self, arguments: dict[str, Any], schema: Any) -> Any:
        """The arguments as they are passed to the template, so that the reader gets the original arguments back.

        `schema`: the schema of the function's parameters, None if it is not known.
        """
        ...

    def opening(self, function: str | None) -> str:
        """The beginning of a call: up to the arguments of `function`, or, for None, up to the function's name."""
        ...

    def grammar_rules(self, functions: Sequence[dict[str, Any]], *, parallel: bool) -> list[str]:
        """Lark rules for calls of these functions; `parallel`: whether an answer may have several.

        The rule `calls` matches an answer of calls only; `text_and_calls` matches one with text before them, in which
        no call begins.
        """
        ...

    def replayed_arguments(self, text: str) -> Any:
        """The value that the template gets for arguments in a request's history that are not a JSON object."""
        ...


def parse_answer(text: str, form: CallForm, functions: Sequence[dict[str, Any]] | None = None) -> Answer:
    """The answer in a complete generated text. A call that cannot be parsed stays in its text."""
    reader = form.new_reader(functions)
    return collect_answer([*reader.feed(text), *reader.finish(cut_off=False)])


def collect_answer(events: Sequence[CallEvent]) -> Answer:
    """The answer that a reader's events make up."""
    content, calls = "", list[Call]()
    for event in events:
        match event:
            case VisibleText():
                content += event.text
            case CallStart():
                calls.append(Call(event.name, ""))
            case ArgumentsText():
                calls[-1] = Call(calls[-1].name, calls[-1].arguments + event.text)
    return Answer(content if content or not calls else None, calls)
