"""Parsed examples, laid out in columns: what the observers of this package look at, a few thousand at a time.

An observer that runs one pattern over a thousand texts joined together costs a tenth of one that looks at each. This
module knows where in an example the texts stand and nothing of what they should be.
"""

import marshal
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from luthier.data.examples.example import calls_in, name_of
from luthier.data.findings import Finding, problem
from luthier.data.jsonl.columnar_parser import Plain

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

    def extend(self, texts: list[str], examples: npt.NDArray[np.intp], messages: npt.NDArray[np.intp]) -> None:
        self.texts += texts
        self.examples += examples.tolist()
        self.messages += messages.tolist()


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


class _Form:
    """Which messages of proved examples are what. Usual are those without empty texts, whose system prompts lead.

    Places among the messages: `answers`, the question before each in `questions` (-1: none), and `heads`, where the
    system prompts of each example end. Of each message its `example` and its place there, `message`.
    """

    def __init__(self, examples: Plain) -> None:
        self._examples = examples
        roles = np.frombuffer(examples.roles, dtype=np.uint8)
        bounds = np.array(examples.bounds)
        places = np.arange(len(roles))
        self.example = np.repeat(np.arange(len(examples)), np.diff(bounds))
        begins = bounds[:-1][self.example]
        self.message = places - begins
        self._users = np.flatnonzero(roles == ord("u"))
        self.answers = np.flatnonzero(roles == ord("a"))
        asked = np.concatenate([[-1], self._users])[np.searchsorted(self._users, self.answers)]
        self.questions = np.where(asked < begins[self.answers], -1, asked)
        is_system = (roles == ord("s")) | (roles == ord("d"))
        heads = bounds[:-1] + np.bincount(self.example[is_system], minlength=len(examples))
        self.heads: list[int] = heads.tolist()
        self.is_usual = "" not in examples.texts and bool((is_system == (places < heads[self.example])).all())

    def asked(self) -> list[str]:
        """All that users said in each example."""
        said = [self._examples.texts[n] for n in self._users.tolist()]
        ends = np.searchsorted(self._users, self._examples.bounds).tolist()
        spans = pairwise(ends)
        return [said[start] if end - start == 1 else "\n".join(said[start:end]) for start, end in spans]


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
        form = _Form(examples)
        if form.is_usual:
            self._columns(first_line, first_number, examples, form)
            return
        for offset, (start, end) in enumerate(examples.spans()):
            turns = zip(examples.roles[start:end].decode(), examples.texts[start:end], strict=True)
            messages = [{"role": _ROLES[role], "content": text} for role, text in turns]
            self.add(first_line + offset, first_number + offset, {"messages": messages})

    def _columns(self, first_line: int, first_number: int, examples: Plain, form: "_Form") -> None:
        """What `add` lays out, one column after the other."""
        place, at, texts = len(self.lines), len(self.texts.texts), examples.texts
        self.lines += range(first_line, first_line + len(examples))
        self.numbers += range(first_number, first_number + len(examples))
        self.texts.extend(texts, form.example + place, form.message)
        self.answers.extend(
            [texts[n] for n in form.answers.tolist()], form.example[form.answers] + place, form.message[form.answers]
        )
        self.answers_at += (form.answers + at).tolist()
        self.questions += ["" if n < 0 else texts[n] for n in form.questions.tolist()]
        systems = [texts[start:end] for start, end in zip(examples.bounds, form.heads, strict=False)]
        answered = [texts[end - 1] for end in examples.bounds[1:]]
        self.systems += systems
        self.asked += form.asked()
        self.answered += answered
        self.calls += [()] * len(examples)
        self.defines += [False] * len(examples)
        self.settings += [hash((*prompts, None)) for prompts in systems]
        ends = zip(form.heads, examples.bounds[1:], strict=True)
        self.contexts += [hash(tuple(texts[head : end - 1])) for head, end in ends]
        self.ends += map(hash, answered)

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
