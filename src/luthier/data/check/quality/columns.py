"""Columns of texts, and the mapping of `ChatColumns` to them."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from luthier.data.jsonl.columnar_parser import ChatColumns

Indices = npt.NDArray[np.intp]


class TextRow(NamedTuple):
    """One text of a column: its index in the column, that of its example in the batch, and that of its message in the
    example.
    """

    number: int
    example: int
    message: int
    text: str


class TextColumn:
    """Texts of one kind, each with the index of its example in the batch and of its message in the example."""

    __slots__ = ("examples", "messages", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.examples = array("q")
        self.messages = array("q")

    def add(self, text: str, example: int, message: int) -> None:
        self.texts.append(text)
        self.examples.append(example)
        self.messages.append(message)

    def extend(self, texts: list[str], examples: Indices, messages: Indices) -> None:
        self.texts += texts
        self.examples.frombytes(examples.astype(np.int64).tobytes())
        self.messages.frombytes(messages.astype(np.int64).tobytes())

    def rows(self, indices: Iterable[int]) -> Iterator[TextRow]:
        """The rows at `indices`, ascending."""
        for index in sorted(indices):
            yield TextRow(index, self.examples[index], self.messages[index], self.texts[index])


class PreferencePair(NamedTuple):
    """Both answers as text, with the names and arguments of their calls. `context`: a hash of everything before."""

    example: int
    context: int
    preferred: str
    non_preferred: str


class AnswerColumn(TextColumn):
    """Trained texts of assistants: the index of each among all texts (`text_indices`), the user message before it
    (`questions`). `pairs` has both answers of each preference example.
    """

    __slots__ = ("pairs", "questions", "text_indices")

    def __init__(self) -> None:
        super().__init__()
        self.text_indices = array("q")
        self.questions: list[str] = []
        self.pairs: list[PreferencePair] = []

    def add_answer(self, text: str, example: int, message: int, text_index: int, question: str) -> None:
        self.add(text, example, message)
        self.text_indices.append(text_index)
        self.questions.append(question)

    @property
    def preferred_examples(self) -> set[int]:
        """The examples whose answer was preferred to another: a preamble or a refusal in it is intended."""
        return {pair.example for pair in self.pairs}

    def among(self, text_indices: set[int]) -> list[int]:
        """The indices of the answers that are at `text_indices` among all texts."""
        if not text_indices:
            return []
        own = np.frombuffer(self.text_indices, np.int64)
        is_selected = np.zeros(max(*text_indices, int(own.max(initial=0))) + 1, np.bool_)
        is_selected[list(text_indices)] = True
        among: list[int] = np.flatnonzero(is_selected[own]).tolist()
        return among


class MessageLayout:
    """Which messages of `ChatColumns` are questions, answers and system prompts.

    `example` and `message` have, for each message, the index of its example and its index in the example. `answers` has
    the indices of the assistant messages, `questions` that of the user message before each (-1: none), and
    `system_ends`, for each example, the index after its system prompts. The layout `is_regular` if no text is empty and
    all system prompts come first.
    """

    def __init__(self, examples: ChatColumns) -> None:
        self._examples = examples
        roles = np.frombuffer(examples.roles, dtype=np.uint8)
        bounds = np.array(examples.bounds)
        indices = np.arange(len(roles))
        self.example = np.repeat(np.arange(len(examples)), np.diff(bounds))
        begins = bounds[:-1][self.example]
        self.message = indices - begins
        self._users = np.flatnonzero(roles == ord("u"))
        self.answers = np.flatnonzero(roles == ord("a"))
        questions = np.concatenate([[-1], self._users])[np.searchsorted(self._users, self.answers)]
        self.questions = np.where(questions < begins[self.answers], -1, questions)
        is_system = (roles == ord("s")) | (roles == ord("d"))
        self.system_ends = bounds[:-1] + np.bincount(self.example[is_system], minlength=len(examples))
        comes_first = indices < self.system_ends[self.example]
        self.is_regular = "" not in examples.texts and bool((is_system == comes_first).all())

    def user_texts(self) -> list[str]:
        """All user messages of each example, joined."""
        texts = [self._examples.texts[index] for index in self._users.tolist()]
        ends = np.searchsorted(self._users, self._examples.bounds).tolist()
        spans = pairwise(ends)
        return [texts[start] if end - start == 1 else "\n".join(texts[start:end]) for start, end in spans]
