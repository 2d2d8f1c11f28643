"""Call forms: how a base model writes function calls, and how they are read from generated text and constrained.

A chat template writes definitions, calls and results into the prompt; everything else that depends on the form is
behind `CallForm`, so that a further form is one implementation of it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luthier.data.examples.messages import Answer, Call


@dataclass(frozen=True)
class VisibleText:
    """Text for the reader; `start`: its offset in the generated text."""

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
    """The next piece of what the model writes before its answer, which is no part of it."""

    text: str


CallEvent = VisibleText | CallStart | ArgumentsText | ReasoningText


class CallReader(Protocol):
    """Reads one generated answer in pieces. Its events do not depend on how the text is cut into pieces."""

    def feed(self, piece: str) -> list[CallEvent]:
        """What is certain after this piece. Text that may turn out to be markup is held back."""
        ...

    def finish(self, *, cut_off: bool) -> list[CallEvent]:
        """What was held back.

        Args:
            cut_off: Whether the generation ended before the model ended it. A call that has begun is then a call,
                with its arguments so far, and the beginning of markup is dropped; otherwise text that turned out to
                be no call is text.
        """
        ...


class CallForm(Hashable, Protocol):
    """How a base model writes calls."""

    @property
    def name(self) -> str: ...

    @property
    def marks_every_answer(self) -> bool:
        """Whether answers of text and reasoning have marks too, which the reader takes away."""
        ...

    @property
    def lead_rule(self) -> str:
        """Lark for the marks before an answer of text, with a blank behind it; empty without any."""
        ...

    @property
    def text_rule(self) -> str:
        """The Lark terminal `TEXT`: text in which no call begins."""
        ...

    @property
    def no_call_rule(self) -> str:
        """The Lark terminal `TEXT` where a call is forbidden: also without what a model that is set on calling writes
        in the place of the mark.
        """
        ...

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> CallReader:
        """`functions`: the definitions, for forms whose text leaves the types of arguments open."""
        ...

    def written_arguments(self, arguments: dict[str, Any], schema: Any) -> Any:
        """The arguments as the template gets them, so that what it writes is read back as they are.

        `schema`: of the function's parameters, None if it is not known.
        """
        ...

    def opening(self, function: str | None) -> str:
        """The beginning of a call: up to the arguments of `function`, or up to the name for None."""
        ...

    def grammar_rules(self, functions: Sequence[dict[str, Any]], *, parallel: bool) -> list[str]:
        """Lark rules for calls of these functions, of several calls where `parallel`.

        The rule `calls` is an answer of calls only; `text_and_calls` has text before them, without the beginning of
        a call in it.
        """
        ...

    def replayed_arguments(self, text: str) -> Any:
        """What the template gets for arguments, in the history of a request, that are not the JSON of an object."""
        ...


def parse_answer(text: str, form: CallForm, functions: Sequence[dict[str, Any]] | None = None) -> Answer:
    """The answer in a complete generated text. What cannot be read as a call stays in the text."""
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
