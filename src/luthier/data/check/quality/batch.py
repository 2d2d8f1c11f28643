"""A batch: about a thousand parsed examples as columns, which every quality check reads."""

import json
import marshal
from array import array
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from luthier.data.check.quality.columns import AnswerColumn, MessageLayout, PreferencePair, TextColumn
from luthier.data.check.quality.joined_texts import JoinedTexts
from luthier.data.examples.example import calls_in, kind_of, name_of
from luthier.data.examples.preferences import turns_of
from luthier.data.findings import Finding, make_finding
from luthier.data.jsonl.columnar_parser import ChatColumns
from luthier.data.jsonl.sequence_hashes import sequence_hash, sequence_hashes
from luthier.types.sized_cache import sized_cache

_ROLES = {"s": "system", "d": "developer", "u": "user", "a": "assistant"}
_MASK = 2**64 - 1
_CONTEXT_CHARACTERS = 20_000  # bounds the time per call, which would otherwise grow with the turns before it
_COMPLETION_ROLES = (("prompt", "user"), ("completion", "assistant"))


class Call(NamedTuple):
    """One call: the indices of its example and message, its arguments as JSON text, the last characters of the
    conversation before it (`context`), and the definitions as JSON text.
    """

    example: int
    message: int
    arguments: str
    context: str
    definitions: str


class ExampleForms(NamedTuple):
    """Per example, its kind ("chat", "completion" for a prompt with its completion, or "no user") and its last user
    message.
    """

    kinds: list[str]
    questions: list[str]


class Hashes(NamedTuple):
    """Three hashes per example: of its `setting` (system prompts and definitions), its `context` (everything else
    before the last answer) and its `answer` (that answer and its calls).

    Every preference pair has its own setting, because one question may have several pairs.
    """

    setting: "array[int]"
    context: "array[int]"
    answer: "array[int]"


class Batch:
    """Columns over examples.

    `lines` and `example_numbers` count as `Finding.line` and `Finding.example` do. `texts` has every text of every
    message and the arguments of calls; `answers` the trained texts of assistants; `calls` the calls of all answers. Per
    example: `system_prompts`, `user_texts` (all user messages, joined), `last_answers` (texts), `called_functions`
    (names in the last answer), `defines_functions`, `forms`, and `hashes`. A preference example counts as a
    conversation that ends with its preferred answer; the other answer is only in `texts` and in `answers.pairs`.
    """

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.example_numbers: list[int] = []
        self.texts, self.answers = TextColumn(), AnswerColumn()
        self.system_prompts: list[list[str]] = []
        self.user_texts: list[str] = []
        self.last_answers: list[str] = []
        self.called_functions: list[tuple[str, ...]] = []
        self.defines_functions: list[bool] = []
        self.forms = ExampleForms([], [])
        self.calls: list[Call] = []
        self.hashes = Hashes(array("Q"), array("Q"), array("Q"))

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, line: int, number: int, example: dict[str, Any]) -> None:
        """Adds one example without structural errors."""
        if kind_of(example) == "preference":
            self._add_pair(line, number, example)
            return
        messages = example.get("messages")
        if not isinstance(messages, list):
            if "completion" not in example:
                return
            messages = [{"role": role, "content": example[key]} for key, role in _COMPLETION_ROLES]
        tools = example.get("tools") or example.get("functions")
        tools_key = marshal.dumps(tools, 2) if tools else b""
        index, summary = len(self.lines), _Summary(tools_key)
        self.lines.append(line)
        self.example_numbers.append(number)
        for position, message in enumerate(messages):
            self._add_message(index, position, message, summary)
        self.system_prompts.append(summary.system_prompts)
        self.user_texts.append(summary.user_text)
        self.last_answers.append(summary.answer)
        self.called_functions.append(summary.called)
        self.defines_functions.append(bool(tools))
        has_user = any(message.get("role") == "user" for message in messages)
        self.forms.kinds.append("completion" if "messages" not in example else "chat" if has_user else "no user")
        self.forms.questions.append(summary.question)
        self.hashes.setting.append(sequence_hash(map(hash, summary.system_prompts)) ^ hash(tools_key) & _MASK)
        self.hashes.context.append(sequence_hash(map(hash, summary.contents[: summary.answer_index])))
        self.hashes.answer.append(hash(summary.answer_content) & _MASK)

    def extend(self, first_line: int, first_number: int, examples: ChatColumns) -> None:
        """Adds consecutive examples on consecutive lines."""
        layout = MessageLayout(examples)
        if layout.is_regular:
            self._extend_columns(first_line, first_number, examples, layout)
            return
        for offset, (start, end) in enumerate(examples.spans()):
            turns = zip(examples.roles[start:end].decode(), examples.texts[start:end], strict=True)
            messages = [{"role": _ROLES[role], "content": text} for role, text in turns]
            self.add(first_line + offset, first_number + offset, {"messages": messages})

    @cached_property
    def joined(self) -> JoinedTexts:
        """All of `texts` in one string; nothing may be added to the batch afterwards."""
        return JoinedTexts(self.texts.texts)

    def finding(self, code: str, example: int, message: int | None = None, **fields: Any) -> Finding:
        """A finding of kind `code` with its position; `example` is an index in this batch."""
        finding = make_finding(code, **fields).at(self.lines[example], self.example_numbers[example])
        return finding if message is None else replace(finding, message_index=message)

    def _add_pair(self, line: int, number: int, example: dict[str, Any]) -> None:
        prompt, turns = example["input"], turns_of(example)
        definitions = {key: prompt[key] for key in ("tools", "functions") if prompt.get(key)}
        self.add(line, number, {"messages": [*turns.prompt, *turns.preferred], **definitions})
        index, (setting, context, _) = len(self) - 1, (hashes[-1] for hashes in self.hashes)
        preferred, non_preferred = _written(turns.preferred), _written(turns.non_preferred)
        self.answers.pairs.append(
            PreferencePair(index, hash((setting, context)), "".join(preferred), "".join(non_preferred))
        )
        for text in filter(None, non_preferred):
            self.texts.add(text, index, len(turns.prompt))
        self.hashes.setting[-1] = line

    def _add_message(self, example: int, position: int, message: dict[str, Any], summary: "_Summary") -> None:
        text = message.get("content")
        if type(text) is not str:
            text = _text_of_parts(text)
        text_index = len(self.texts.texts)
        if text:
            self.texts.add(text, example, position)
        role = message.get("role")
        if role == "assistant":
            has_calls = "tool_calls" in message or "function_call" in message
            called, content = self._add_calls(message, example, position, summary) if has_calls else ((), text)
            if text and message.get("weight") != 0:
                self.answers.add_answer(text, example, position, text_index, summary.question)
            summary.add_answer(text, called, content)
        elif role in ("system", "developer"):
            summary.system_prompts.append(text)
        else:
            summary.contents.append(text)
            if role == "user":
                summary.question = text
                summary.user_text = f"{summary.user_text}\n{text}" if summary.user_text else text

    def _add_calls(self, message: dict[str, Any], example: int, position: int, summary: "_Summary") -> tuple[Any, Any]:
        """(names of the called functions, a hashable value of the text and the calls)."""
        names: list[str] = []
        arguments: list[str] = []
        for _, call in calls_in(message):
            names.append(name_of(call) or "")
            arguments.append(call["arguments"])
            self.texts.add(call["arguments"], example, position)
        content = message.get("content")
        text = content if type(content) is str else _text_of_parts(content)
        if arguments:
            context, definitions = f"{summary.recent_text()}\n{text}", _definitions_text(summary.tools_key)
            self.calls += [Call(example, position, written, context, definitions) for written in arguments]
        return tuple(names), (text, *names, *arguments)

    def _extend_columns(self, first_line: int, first_number: int, examples: ChatColumns, layout: MessageLayout) -> None:
        """Does the same as `add` for each example, but column by column."""
        index, text_index, texts = len(self.lines), len(self.texts.texts), examples.texts
        bounds, answers, system_ends = np.array(examples.bounds), layout.answers, layout.system_ends
        begins, last = bounds[:-1], bounds[1:] - 1
        self.lines += range(first_line, first_line + len(examples))
        self.example_numbers += range(first_number, first_number + len(examples))
        self.texts.extend(texts, layout.example + index, layout.message)
        answer_texts = [texts[n] for n in answers.tolist()]
        self.answers.extend(answer_texts, layout.example[answers] + index, layout.message[answers])
        self.answers.text_indices.frombytes((answers + text_index).astype(np.int64).tobytes())
        self.answers.questions += ["" if n < 0 else texts[n] for n in layout.questions.tolist()]
        prompts = zip(examples.bounds, system_ends.tolist(), strict=False)
        self.system_prompts += [texts[start:end] for start, end in prompts]
        user_texts = layout.user_texts()
        self.user_texts += user_texts
        self.last_answers += [texts[n] for n in last.tolist()]
        self.called_functions += [()] * len(examples)
        self.defines_functions += [False] * len(examples)
        self.forms.kinds.extend("chat" if user_text else "no user" for user_text in user_texts)
        questions = layout.questions[np.searchsorted(answers, last)]
        self.forms.questions.extend("" if n < 0 else texts[n] for n in questions.tolist())
        self.hashes.setting.frombytes(sequence_hashes(examples.hashes, begins, system_ends).tobytes())
        self.hashes.context.frombytes(sequence_hashes(examples.hashes, system_ends, last).tobytes())
        self.hashes.answer.frombytes(examples.hashes[last].tobytes())


class _Summary:
    """What `Batch.add` collects over the messages of one example.

    `contents` has all but the system prompts, in order; `answer_index` is the last answer's index there, None without
    an answer.
    """

    __slots__ = (
        "answer", "answer_content", "answer_index", "called", "contents", "question", "system_prompts",
        "tools_key", "user_text",
    )  # fmt: skip

    def __init__(self, tools_key: bytes) -> None:
        self.tools_key = tools_key
        self.system_prompts: list[str] = []
        self.question = self.user_text = self.answer = ""
        self.called: tuple[str, ...] = ()
        self.contents: list[Any] = []
        self.answer_index: int | None = None
        self.answer_content: Any = None

    def recent_text(self) -> str:
        """The system prompts and the last messages, which together have about `_CONTEXT_CHARACTERS` characters."""
        recent, size = [], 0
        for content in reversed(self.contents):
            recent.append(str(content))
            size += len(recent[-1])
            if size >= _CONTEXT_CHARACTERS:
                break
        return "\n".join((*self.system_prompts, *reversed(recent)))

    def add_answer(self, text: str, called: tuple[str, ...], content: Any) -> None:
        self.answer, self.called, self.answer_content = text, called, content
        self.answer_index = len(self.contents)
        self.contents.append(content)


@sized_cache
def _definitions_text(tools_key: bytes) -> str:
    """Definitions as JSON; examples of one file mostly have the same ones."""
    return json.dumps(marshal.loads(tools_key), ensure_ascii=False) if tools_key else ""  # noqa: S302 - dumped here


def _written(messages: list[dict[str, Any]]) -> list[str]:
    """The texts of messages, and the names and arguments of their calls."""
    texts = []
    for message in messages:
        content = message.get("content")
        texts.append(content if isinstance(content, str) else _text_of_parts(content))
        for _, call in calls_in(message):
            texts += [name_of(call) or "", call["arguments"]]
    return texts


def _text_of_parts(content: Any) -> str:
    """The text of a list of content parts; empty for no content."""
    return "".join(part.get("text") or "" for part in content) if isinstance(content, list) else ""
