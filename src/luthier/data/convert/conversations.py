"""Lists of turns → messages: ShareGPT (`from`, `value`), roles of tool calls, pairs of question and answer.

A turn that cannot be read becomes a message with the same fault, which the check reports, so that nothing is lost.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from luthier.data.convert.call_texts import has_call_texts, read_call_texts
from luthier.data.convert.records import Converted, Example, account, decoded, system_prompt
from luthier.data.examples.key_meanings import flagged_weight, is_empty, meaning_of

_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "developer": "developer", "function_call": "call",
    "tool_call": "call", "observation": "result", "tool": "result", "tool_response": "result",
    "function_response": "result", "用户": "user", "助手": "assistant", "系统": "system",
}  # fmt: skip
FOREIGN_ROLES = frozenset(("function_call", "tool_call", "observation", "tool_response", "function_response"))
_SPEAKERS, _TEXTS = ("from", "role", "speaker"), ("value", "content", "text")
_MESSAGE_KEYS = ("name", "tool_calls", "tool_call_id", "function_call", "refusal")
_CALL_KEYS = frozenset(("name", "arguments", "parameters", "args", "id", "type"))
_QUESTION_KEYS, _ANSWER_KEYS = (
    ("human", "user", "input", "question", "prompt", "instruction", "query", "q", "问", "问题", "用户"),
    ("assistant", "gpt", "output", "answer", "response", "completion", "reply", "a", "答", "回答", "答案"),
)


@dataclass
class _Conversation:
    """Messages, and the members of turns that they do not contain (`unused`)."""

    messages: list[Example] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)  # ids of calls without a result yet
    unused: Example = field(default_factory=dict)
    calls: int = 0

    def add(self, turn: Example) -> None:
        """Adds one turn."""
        speaker_key = next((key for key in _SPEAKERS if key in turn), "")
        text_key = next((key for key in _TEXTS if key in turn), "")
        speaker, text = turn.get(speaker_key), turn.get(text_key)
        role = _ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
        extra = self._extra(turn, {speaker_key, text_key}, role)
        if role == "call":
            self._add_call(text, extra)
        elif role == "result":
            self._add_result(text, extra)
        else:
            message = {"role": role or speaker} | ({"content": text} if text_key or "tool_calls" not in turn else {})
            self.messages.append(message | extra)

    def _extra(self, turn: Example, used: set[str], role: str | None) -> Example:
        """The keys of the message beside role and content. Members without a meaning are added to `unused`; those that
        decide how the message is trained stay, for the check to report.
        """
        extra: Example = {}
        for key, value in turn.items():
            if key in used or (value is None and key not in _MESSAGE_KEYS):
                continue
            if key != "weight" and meaning_of(key, value) == "loss":
                weight = flagged_weight(key, value)
                if weight is None or (weight and role not in ("assistant", "call")):
                    extra[key] = value
                elif role in ("assistant", "call"):
                    extra["weight"] = weight
            elif key == "weight" or key in _MESSAGE_KEYS or meaning_of(key, value):
                extra[key] = value
            elif not is_empty(value):
                self.unused[f"{key} of a turn"] = value
        return extra

    def _add_call(self, text: Any, extra: Example) -> None:
        value = decoded(text)
        functions: list[Any] = [_function(call) for call in (value if isinstance(value, list) else [value])]
        if not functions or not all(functions):
            functions = [text]  # which the check reports
        calls = [{"id": self._next_id(), "type": "function", "function": function} for function in functions]
        last = self.messages[-1] if self.messages else {}
        is_open = last.get("role") == "assistant" and last.get("weight") == extra.get("weight")
        if is_open and isinstance(last.get("tool_calls", []), list) and "function_call" not in last:
            last.setdefault("tool_calls", []).extend(calls)  # after text or another call of the same turn
            last.update(extra)
        else:
            self.messages.append({"role": "assistant", "tool_calls": calls} | extra)
            self.pending = []
        self.pending += [str(call["id"]) for call in calls]

    def _next_id(self) -> str:
        self.calls += 1
        return f"call_{self.calls}"

    def _add_result(self, text: Any, extra: Example) -> None:
        call_id = {"tool_call_id": self.pending.pop(0)} if self.pending else {}
        self.messages.append({"role": "tool"} | call_id | {"content": text} | extra)


def from_conversation(record: Example, key: str) -> Converted | None:
    """Converts an object whose `key` is a list of turns with speakers, or the JSON of one; None for any other."""
    turns = decoded(record.get(key))
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return None
    system = system_prompt(record)
    conversation = _Conversation([{"role": "system", "content": system.value}] if system.value else [])
    for turn in turns:
        conversation.add(turn)
    return _with_tools(record, conversation, {key, *system.keys})


def from_turn_pairs(record: Example, key: str) -> Converted | None:
    """Converts an object whose `key` is a list of turns, each with a question and an answer; None for any other."""
    turns = record.get(key)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    system = system_prompt(record)
    conversation = _Conversation([{"role": "system", "content": system.value}] if system.value else [])
    for turn in turns:
        names = {name.strip().lower(): name for name in turn}
        question = next((names[name] for name in _QUESTION_KEYS if name in names), None)
        answer = next((names[name] for name in _ANSWER_KEYS if name in names), None)
        own = system_prompt(turn)
        if question is None or answer is None:
            return None
        if own.value:
            conversation.messages.append({"role": "system", "content": own.value})
        extra = conversation._extra(turn, {question, answer, *own.keys}, "assistant")
        if not is_empty(turn[question]):
            conversation.messages.append({"role": "user", "content": turn[question]})
        conversation.messages.append({"role": "assistant", "content": turn[answer]} | extra)
    return _with_tools(record, conversation, {key, *system.keys})


def _with_tools(record: Example, conversation: _Conversation, used: set[str]) -> Converted:
    example: Example = {"messages": conversation.messages}
    tools = definitions(record.get("tools"))
    if has_call_texts(conversation.messages) and (read := read_call_texts(conversation.messages)):
        example["messages"], from_prompt = read
        tools = tools or definitions(from_prompt)
    if tools:
        example["tools"] = tools
    if isinstance(record.get("parallel_tool_calls"), bool):
        example["parallel_tool_calls"] = record["parallel_tool_calls"]
    result = account(record, example, used | {"tools", "parallel_tool_calls"})
    return Converted(result.example, conversation.unused | result.unused)


def _function(call: Any) -> Example | None:
    """The name and the arguments of a call; None if it is not a call, or has other keys."""
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call["function"]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call.keys() <= _CALL_KEYS:
        return None
    values = [call[key] for key in ("arguments", "parameters", "args") if key in call]
    if len(values) > 1:
        return None
    arguments = values[0] if values else {}
    return {
        "name": call["name"],
        "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
    }


def definitions(value: Any) -> Any:
    """Definitions in today's form, from a list or its JSON; any other value unchanged, for the check to report."""
    if is_empty(value):
        return None
    tools = decoded(value)
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return value
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
