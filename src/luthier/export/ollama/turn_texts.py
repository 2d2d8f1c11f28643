"""The texts that a chat template writes around messages, tool definitions, calls and results, found by probing.

A Go template is built from these texts, which cannot be read off the Jinja source. Short conversations are therefore
rendered with markers as contents, and the texts between the markers are extracted. Other conversations then verify that
the texts describe the template completely: composing them must give the template's own output.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.data.rendering.template_probes import (
    CALL_CONVERSATIONS,
    PARALLEL_CONVERSATION,
    PLAIN_CONVERSATIONS,
    assistant,
    result,
    user,
)
from luthier.data.rendering.turn_composer import Messages, Tools, TurnComposer
from luthier.language import say
from luthier.types.errors import ExportError, RenderError

_SYSTEM, _USER, _ANSWER, _OTHER = "\ue110", "\ue111", "\ue112", "\ue113"  # markers that stand for contents
_NAME, _VALUE = "probe_name", "\ue114"


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


@dataclass(frozen=True)
class Around:
    """The texts that the template writes before and after a content."""

    before: str
    after: str

    def of(self, content: str) -> str:
        return f"{self.before}{content}{self.after}"


@dataclass(frozen=True)
class FunctionTexts:
    """The texts around tool definitions, calls and results.

    Attributes:
        first: Before the definitions in a conversation without a system message.
        system: Around the system message that precedes the definitions.
        between: Between two definitions.
        last: After the last definition.
        call: Before the name of a call, between name and arguments, and after the arguments.
        after_text: Between the text of an answer and its first call.
        between_calls: Between two calls of an answer.
        result: Around a series of results.
        between_results: Between two results.
    """

    first: str
    system: Around
    between: str
    last: str
    call: tuple[str, str, str]
    after_text: str
    between_calls: str
    result: Around
    between_results: str


@dataclass(frozen=True)
class TurnTexts:
    """The texts around the messages of a conversation.

    Attributes:
        no_system: At the start of a conversation without a system message.
        opening: The generation prompt, before the next answer.
        functions: None where the model calls no functions.
    """

    no_system: str
    system: Around
    user: Around
    assistant: Around
    opening: str
    functions: FunctionTexts | None

    def compose(self, messages: Messages, tools: Tools) -> str:
        """The conversation up to the next answer, as the Go template renders it."""
        contents = [message["content"] for message in messages if message["role"] == "system"]
        text = self._head("\n\n".join(contents), tools)
        previous = ""
        for message in messages:
            role = message["role"]
            if previous == "tool" and role != "tool":
                text += self._functions.result.after
            if role == "user":
                text += self.user.of(message["content"])
            elif role == "assistant":
                text += self.assistant.of(self._answer(message))
            elif role == "tool":
                before = self._functions.between_results if previous == "tool" else self._functions.result.before
                text += before + message["content"]
            previous = role
        return text + (self._functions.result.after if previous == "tool" else "") + self.opening

    @property
    def _functions(self) -> FunctionTexts:
        if self.functions is None:
            raise RenderError(say("the texts around calls and results are unknown", "调用和结果前后的文字未知"))
        return self.functions

    def _head(self, system: str, tools: Tools) -> str:
        if not tools:
            return self.system.of(system) if system else self.no_system
        functions = self._functions
        definitions = functions.between.join(lossless_json.dumps(tool) for tool in tools)
        return (functions.system.of(system) if system else functions.first) + definitions + functions.last

    def _answer(self, message: dict[str, Any]) -> str:
        text = str(message.get("content") or "")
        for number, call in enumerate(message.get("tool_calls") or []):
            functions = self._functions
            before, between, after = functions.call
            text += functions.between_calls if number else (functions.after_text if text else "")
            arguments = lossless_json.dumps(call["function"]["arguments"])
            text += before + call["function"]["name"] + between + arguments + after
        return text


def measure(composer: TurnComposer, *, calls: bool) -> TurnTexts:
    """The texts of the chat template of `composer`; `calls` includes those around definitions, calls and results.

    Raises:
        ExportError: Such texts do not describe the template completely.
    """

    def render(messages: Messages, tools: Tools = None, *, answer_next: bool = False) -> str:
        return "".join(segment.text for segment in composer.segments(messages, tools, answer_next=answer_next))

    try:
        texts = _Measurement(render).texts(calls=calls)
        for messages, tools in _proofs(calls=calls):
            if texts.compose(messages, tools) != render(messages, tools, answer_next=True):
                raise RenderError(
                    say(
                        f"a conversation of {len(messages)} messages renders differently",
                        f"含 {len(messages)} 条消息的对话渲染结果不同",
                    )
                )
    except (RenderError, ValueError) as error:
        raise ExportError(
            say(
                f"The chat template of this model cannot be written as an Ollama template: {error}. Export gguf, which "
                "llama.cpp serves with its embedded template (llama-server --jinja).",
                f"该模型的对话模板无法改写为 Ollama 模板：{error}。"
                "请导出 gguf，llama.cpp 会使用文件内的模板（llama-server --jinja）。",
            )
        ) from error
    return texts


class _Measurement:
    """Extracts the texts; `render` renders messages and tool definitions with the chat template."""

    def __init__(self, render: Any) -> None:
        self._render = render

    def texts(self, *, calls: bool) -> TurnTexts:
        """The texts of the template. Raises RenderError or ValueError if markers or separators are missing."""
        question, answer = user(_USER), assistant(_ANSWER)
        system = {"role": "system", "content": _SYSTEM}
        after_user = self._between([question], _USER)
        after_answer = self._between([question, answer], _ANSWER)
        before_answer = _without_start(self._between([question, answer], _USER, _ANSWER), after_user)
        turns = [question, answer, user(_OTHER)]
        before_user = _without_start(self._between(turns, _ANSWER, _OTHER), after_answer)
        after_system = _without_end(self._between([system, question], _SYSTEM, _USER), before_user)
        prompt = str(self._render([question], None, answer_next=True)).partition(_USER)[2]
        texts = TurnTexts(
            no_system=_without_end(self._between([question], "", _USER), before_user),
            system=Around(self._between([system, question], "", _SYSTEM), after_system),
            user=Around(before_user, after_user),
            assistant=Around(before_answer, after_answer),
            opening=_without_start(prompt, after_user),
            functions=None,
        )
        if not calls:
            return texts
        return TurnTexts(**{**vars(texts), "functions": self._functions(texts)})

    def _functions(self, turns: TurnTexts) -> FunctionTexts:
        """The texts around tool definitions, calls and results; `turns` are those around other messages."""
        question, system = user(_USER), {"role": "system", "content": _SYSTEM}
        tools = [_tool("probe_one"), _tool("probe_two")]
        first, second = map(lossless_json.dumps, tools)
        call, other = (_NAME, {"a": _VALUE}), ("probe_two", {"b": _OTHER})
        arguments, more = '{"a": "' + _VALUE + '"}', '{"b": "' + _OTHER + '"}'
        single_call = [question, assistant("", [call])]
        two = [question, assistant("", [call, other])]
        before_call = _without_start(
            self._between(single_call, _USER, _NAME), turns.user.after + turns.assistant.before
        )
        after_call = _without_end(self._between(single_call, arguments), turns.assistant.after)
        text_and_call = self._between([question, assistant(_ANSWER, [call])], _ANSWER, _NAME)
        results = [*two, result(_ANSWER), result(_SYSTEM, 2)]
        after_calls = after_call + turns.assistant.after
        before_result = _without_start(self._between(results, more, _ANSWER), after_calls)
        return FunctionTexts(
            first=self._between([question], "", first, tools),
            system=Around(
                self._between([system, question], "", _SYSTEM, tools),
                self._between([system, question], _SYSTEM, first, tools),
            ),
            between=self._between([question], first, second, tools),
            last=_without_end(self._between([question], second, _USER, tools), turns.user.before),
            call=(before_call, self._between(single_call, _NAME, arguments), after_call),
            after_text=_without_end(text_and_call, before_call),
            between_calls=_without_end(
                _without_start(self._between(two, arguments, "probe_two"), after_call), before_call
            ),
            result=Around(before_result, self._between(results, _SYSTEM)),
            between_results=self._between(results, _ANSWER, _SYSTEM),
        )

    def _between(self, messages: Messages, start: str, end: str = "", tools: Tools = None) -> str:
        """The text that `messages` render to between two markers; an empty marker is the start or the end."""
        text = str(self._render(messages, tools))
        begin = text.index(start) + len(start)
        return text[begin : text.index(end, begin) if end else len(text)]


def _proofs(*, calls: bool) -> Iterator[tuple[Messages, Tools]]:
    """The conversations, other than the probes, on which the extracted texts are verified."""
    tools = [_tool("probe_call"), _tool("probe_other"), _tool("probe_third")]
    conversations = PLAIN_CONVERSATIONS + ([*CALL_CONVERSATIONS, PARALLEL_CONVERSATION] if calls else [])
    for messages in conversations:
        for end in range(1, len(messages) + 1):
            if messages[end - 1]["role"] in ("user", "tool"):
                yield messages[:end], None
                if calls:
                    yield messages[:end], tools


def _without_start(text: str, start: str) -> str:
    if not text.startswith(start):
        raise _irregular(start)
    return text[len(start) :]


def _without_end(text: str, end: str) -> str:
    if not text.endswith(end):
        raise _irregular(end)
    return text[: len(text) - len(end)]


def _irregular(separator: str) -> RenderError:
    quoted = json.dumps(separator, ensure_ascii=False)
    return RenderError(say(f"{quoted} is not written between all turns", f"{quoted} 并非出现在每两轮之间"))
