"""Parsed examples, laid out in columns: what the observers of this package look at, a few thousand at a time.

An observer that runs one pattern over a thousand texts joined together costs a tenth of one that looks at each. This
module knows where in an example the texts stand and nothing of what they should be.
"""

import marshal
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from luthier.data.examples import calls_in, name_of
from luthier.data.findings import Finding, problem
from luthier.data.plain import Plain

SEPARATOR = "\0"
_ROLES = {"s": "system", "d": "developer", "u": "user", "a": "assistant"}
_PAIR = (("prompt", "user"), ("completion", "assistant"))


class Column:
    """Texts of one kind, each with the example (its place in the batch) and the message that it stands in."""

    __slots__ = ("examples", "messages", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.examples: list[int] = []
        self.messages: list[int] = []

    def add(self, text: str, example: int, message: int) -> None:
        self.texts.append(text)
        self.examples.append(example)
        self.messages.append(message)


class Joined:
    """Texts in one string, each with `SEPARATOR` before it; `holders` says which texts positions lie in."""

    def __init__(self, texts: list[str]) -> None:
        self.text = SEPARATOR + SEPARATOR.join(texts)
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @cached_property
    def raw(self) -> bytes:
        """`text` in UTF-8."""
        return self.text.encode("utf-8", "surrogatepass")

    @cached_property
    def codes(self) -> npt.NDArray[np.uint32]:
        """Every character of `text` as its code point."""
        return np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)

    def places(self, pattern: re.Pattern[str]) -> set[int]:
        """The texts in which the pattern is found; it may begin at the NUL before a text."""
        return self.holders([found.start() for found in pattern.finditer(self.text)])

    def holders(self, positions: npt.ArrayLike) -> set[int]:
        """The texts in which these positions of `text` lie."""
        return _holders(self.starts, positions)

    def raw_holders(self, positions: npt.ArrayLike) -> set[int]:
        """The texts in which these positions of `raw` lie."""
        return _holders(self._raw_starts, positions)

    @cached_property
    def starts(self) -> npt.NDArray[np.intp]:
        """Where the NUL before each text stands."""
        starts = np.flatnonzero(self.codes == 0)
        if len(starts) == len(self._texts):
            return starts
        return np.cumsum([0, *(len(text) + 1 for text in self._texts[:-1])], dtype=np.intp)

    @cached_property
    def _raw_starts(self) -> npt.NDArray[np.intp]:
        starts = np.flatnonzero(np.frombuffer(self.raw, dtype=np.uint8) == 0)
        if len(starts) == len(self._texts):
            return starts
        return np.cumsum([0, *(len(text.encode("utf-8", "surrogatepass")) + 1 for text in self._texts[:-1])])


def _holders(starts: npt.NDArray[np.intp], positions: npt.ArrayLike) -> set[int]:
    at = np.asarray(positions, dtype=np.intp)
    return set(np.unique(np.searchsorted(starts, at, side="right") - 1).tolist()) if at.size else set()


class _Shape(NamedTuple):
    """Which messages are what, by the roles of an example: all as places among its messages."""

    systems: tuple[int, ...]
    users: tuple[int, ...]
    before: tuple[int, ...]  # all that was said before the last answer
    answers: tuple[tuple[int, int | None], ...]  # each with its question, if one was asked


@lru_cache(maxsize=256)
def _shape(roles: str) -> _Shape:
    answers, question = [], None
    for place, role in enumerate(roles):
        question = place if role == "u" else question
        if role == "a":
            answers.append((place, question))
    systems, users = (tuple(n for n, role in enumerate(roles) if role in kind) for kind in ("sd", "u"))
    before = tuple(n for n, role in enumerate(roles[:-1]) if role in "ua")
    return _Shape(systems, users, before, tuple(answers))


class Batch:
    """Columns over examples.

    `lines` and `numbers` count as `Finding.line` and `Finding.example` do. `texts` is every text of every message, and
    the arguments of calls; `answers` are the trained texts of assistants, `answers_at` their places in `texts`, and
    `questions` the user's text before each. Per example: `systems` (the system prompts), `asked` (all that users
    said), `answered` (the last answer's text), `calls` (the names that it calls), `defines` (whether functions are
    defined), and three hashes, equal where these are equal: `settings` (system prompts and definitions), `contexts`
    (all else before the last answer), `ends` (that answer with its calls).
    """

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.numbers: list[int] = []
        self.texts, self.answers = Column(), Column()
        self.answers_at: list[int] = []
        self.questions: list[str] = []
        self.systems: list[list[str]] = []
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.calls: list[tuple[str, ...]] = []
        self.defines: list[bool] = []
        self.settings: list[int] = []
        self.contexts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, line: int, number: int, example: dict[str, Any]) -> None:
        """Lay out one example whose form has been checked."""
        messages = example.get("messages")
        if not isinstance(messages, list):
            if "completion" not in example:
                return
            messages = [{"role": role, "content": example[key]} for key, role in _PAIR]
        place = len(self.lines)
        self.lines.append(line)
        self.numbers.append(number)
        systems: list[str] = []
        asked, question, answer = "", "", ""
        said: list[Any] = []
        last: Any = None
        called: tuple[str, ...] = ()
        before = -1
        texts, text_examples, text_messages = self.texts.texts, self.texts.examples, self.texts.messages
        for index, message in enumerate(messages):
            text = message.get("content")
            if type(text) is not str:
                text = _text(text)
            at = len(texts)
            if text:
                texts.append(text)
                text_examples.append(place)
                text_messages.append(index)
            role = message.get("role")
            if role == "user":
                question = text
                asked = f"{asked}\n{text}" if asked else text
                said.append(text)
            elif role == "assistant":
                before = len(said)
                answer, called, last = text, (), text
                if len(message) > 2:
                    called, last = self._calls(message, place, index, text)
                if text and message.get("weight") != 0:
                    self._answer(text, place, index, at, question)
                said.append(last)
            elif role in ("system", "developer"):
                systems.append(text)
            else:
                said.append(text)
        tools = example.get("tools") or example.get("functions")
        self.systems.append(systems)
        self.asked.append(asked)
        self.answered.append(answer)
        self.calls.append(called)
        self.defines.append(bool(tools))
        self.settings.append(hash((*systems, marshal.dumps(tools, 2) if tools else None)))
        self.contexts.append(hash(tuple(said[:before] if before >= 0 else said)))
        self.ends.append(hash(last))

    def extend(self, first_line: int, first_number: int, examples: Plain) -> None:
        """Lay out proved examples that follow each other, on lines that do."""
        for offset, (roles, said) in enumerate(zip(examples.roles, examples.texts, strict=True)):
            if "" in said:
                messages = [{"role": _ROLES[role], "content": text} for role, text in zip(roles, said, strict=True)]
                self.add(first_line + offset, first_number + offset, {"messages": messages})
            else:
                self.lines.append(first_line + offset)
                self.numbers.append(first_number + offset)
                self._plain(len(self.lines) - 1, _shape(roles), said)

    def _plain(self, place: int, shape: _Shape, said: list[str]) -> None:
        """What `add` lays out, where nothing is called or defined and no text is empty."""
        at = len(self.texts.texts)
        self.texts.texts += said
        self.texts.examples += [place] * len(said)
        self.texts.messages += range(len(said))
        for index, question in shape.answers:
            self._answer(said[index], place, index, at + index, "" if question is None else said[question])
        systems = [said[index] for index in shape.systems]
        self.systems.append(systems)
        self.asked.append("\n".join([said[index] for index in shape.users]))
        self.answered.append(said[-1])
        self.calls.append(())
        self.defines.append(False)
        self.settings.append(hash((*systems, None)))
        self.contexts.append(hash(tuple([said[index] for index in shape.before])))
        self.ends.append(hash(said[-1]))

    def _answer(self, text: str, example: int, message: int, at: int, question: str) -> None:
        self.answers.add(text, example, message)
        self.answers_at.append(at)
        self.questions.append(question)

    @cached_property
    def joined(self) -> Joined:
        """All of `texts`; asked for when the batch is full."""
        return Joined(self.texts.texts)

    def answers_among(self, texts: set[int]) -> list[int]:
        """The places in `answers` of those texts that are answers."""
        return [place for place, at in enumerate(self.answers_at) if at in texts] if texts else []

    def _calls(self, message: dict[str, Any], place: int, index: int, text: str) -> tuple[tuple[str, ...], Any]:
        """The names that a message calls, and what it says and calls as a value to hash."""
        names: list[str] = []
        calls: list[str] = []
        for _, call in calls_in(message):
            names.append(name_of(call) or "")
            calls.append(call["arguments"])
            self.texts.add(call["arguments"], place, index)
        return tuple(names), (text, *names, *calls)

    def finding(self, code: str, example: int, message: int | None = None, **fields: Any) -> Finding:
        """A finding of the catalogue's kind `code`, at its place."""
        made = problem(code, **fields).at(self.lines[example], self.numbers[example])
        return made if message is None else replace(made, message_index=message)


class Observer(Protocol):
    """One idea of what may be wrong."""

    def look(self, batch: Batch) -> Iterable[Finding]:
        """Findings on the examples of one batch."""

    def finish(self) -> Iterable[Finding]:
        """Findings that only the whole file shows."""


def in_texts(column: Column, places: Iterable[int]) -> Iterator[tuple[int, int, int, str]]:
    """(place in the column, example, message, text) of the texts at `places`."""
    for place in sorted(places):
        yield place, column.examples[place], column.messages[place], column.texts[place]


def _text(content: Any) -> str:
    """The text of a list of parts; empty for no content."""
    return "".join(part.get("text") or "" for part in content) if isinstance(content, list) else ""
