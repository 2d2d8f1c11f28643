"""Lists of turns → messages: ShareGPT (`from`, `value`), roles of tool calls, pairs of question and answer.

A turn that cannot be read becomes a message with the same fault, which the check reports; a list is not
converted if a turn has no known key of its speaker or text. So nothing is lost.
"""

import json
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

from luthier.data.convert.call_texts import has_call_texts, read_call_texts
from luthier.data.convert.records import (
    ANSWER_KEYS,
    QUESTION_KEYS,
    Converted,
    Example,
    account,
    decoded,
    is_filled_text,
    question_key,
    question_text,
    system_prompt,
)
from luthier.data.examples.key_meanings import flagged_weight, is_empty, meaning_of

_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "developer": "developer", "function_call": "call",
    "tool_call": "call", "observation": "result", "tool": "result", "tool_response": "result",
    "function_response": "result", "用户": "user", "助手": "assistant", "系统": "system",
    "ai": "assistant", "工具": "result",
}  # fmt: skip
FOREIGN_ROLES = frozenset(("function_call", "tool_call", "observation", "tool_response", "function_response"))
SPEAKERS = ("from", "role", "speaker", "角色", "说话人")
TEXTS = ("value", "content", "text", "utterance", "message", "内容", "文本")
_MESSAGE_KEYS = ("name", "tool_calls", "tool_call_id", "function_call", "refusal")
_CALL_KEYS = frozenset(("name", "arguments", "parameters", "args", "id", "type"))


@dataclass
class _Conversation:
    """Messages, and the members of turns that they do not contain (`unused`)."""

    messages: list[Example] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)  # ids of calls without a result yet
    unused: Example = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)  # of all calls

    def add(self, turn: Example) -> None:
        """Adds one turn."""
        speaker_key, text_key = _first_key(turn, SPEAKERS), _first_key(turn, TEXTS)
        speaker, text = turn.get(speaker_key), turn.get(text_key)
        role = _ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
        calls = _tool_calls(turn)
        if isinstance(calls, list) or ("tool_calls" in turn and is_empty(turn["tool_calls"])):
            turn = turn | {"tool_calls": calls or None}
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
        values = value if isinstance(value, list) else [value]
        functions: list[Any] = [_function(call) for call in values]
        if not functions or not all(functions):
            values, functions = [{}], [text]  # which the check reports
        ids = [self._id_of(call.get("id")) for call in values]
        calls = [
            {"id": call_id, "type": "function", "function": function}
            for call_id, function in zip(ids, functions, strict=True)
        ]
        last = self.messages[-1] if self.messages else {}
        is_open = last.get("role") == "assistant" and last.get("weight") == extra.get("weight")
        if is_open and isinstance(last.get("tool_calls", []), list) and "function_call" not in last:
            last.setdefault("tool_calls", []).extend(calls)  # after text or another call of the same turn
            last.update(extra)
        else:
            self.messages.append({"role": "assistant", "tool_calls": calls} | extra)
            self.pending = []
        self.pending += [str(call["id"]) for call in calls]

    def _id_of(self, own_id: Any) -> str:
        """The id of the next call: its own one if no earlier call has it, else a new one."""
        numbered = (f"call_{number}" for number in count(len(self.ids) + 1))
        candidates = chain([own_id] if isinstance(own_id, str) and own_id else [], numbered)
        call_id = next(candidate for candidate in candidates if candidate not in self.ids)
        self.ids.add(call_id)
        return call_id

    def _add_result(self, text: Any, extra: Example) -> None:
        """Adds the result of the call that the turn names, else of the first one without a result."""
        answered_id = extra.pop("tool_call_id", None)
        if is_empty(answered_id) and self.pending:
            answered_id = self.pending[0]
        self.pending = [call_id for call_id in self.pending if call_id != answered_id]
        call_id = {} if answered_id is None else {"tool_call_id": answered_id}
        self.messages.append({"role": "tool"} | call_id | {"content": text} | extra)


def _first_key(turn: Example, names: tuple[str, ...]) -> str:
    """The key with the first of these names that has a value, ignoring case, else any with one of them; "" without."""
    keys = {key.strip().lower(): key for key in turn}
    present = [keys[name] for name in names if name in keys]
    return next((key for key in present if turn[key] is not None), (present or [""])[0])


def is_turn(turn: Any) -> bool:
    """Whether it is an object with a speaker, and a text or call."""
    if not isinstance(turn, dict) or not _first_key(turn, SPEAKERS):
        return False
    return bool(_first_key(turn, TEXTS) or turn.keys() & {"tool_calls", "function_call", "refusal"})


def is_foreign_turn(turn: Any) -> bool:
    """Whether it is a message with a role, keys or calls that only other formats have."""
    if not isinstance(turn, dict):
        return False
    keys = [key for key in turn if key.strip().lower() in (*SPEAKERS, *TEXTS) and key not in ("role", "content")]
    has_other_keys = bool(keys) and not {"role", "content"} <= turn.keys()
    return has_other_keys or str(turn.get("role")) in FOREIGN_ROLES or isinstance(_tool_calls(turn), list)


def _tool_calls(turn: Example) -> Any:
    """The calls of a message whose calls are JSON text; None for any other."""
    text = turn.get("tool_calls")
    return decoded(text) if isinstance(text, str) else None


def decoded_turns(value: Any) -> Any:
    """The turns in a JSON text; any other value unchanged."""
    turns = decoded(value)
    has_speakers = isinstance(turns, list) and bool(turns) and all(map(is_turn, turns))
    return turns if has_speakers else value


def messages_of(turns: list[Any]) -> list[Example]:
    """The messages of a list of turns; [] if it cannot be read, or if something in it would be lost."""
    converted = from_conversation({"turns": turns}, "turns")
    return [] if converted is None or converted.unused else list(converted.example["messages"])


def question_messages(record: Example, question: str, answer: str = "") -> tuple[list[Example], list[str]]:
    """(the messages of a question, the keys that hold them): its turns, or else one text with its contexts."""
    turns = decoded_turns(record[question])
    if isinstance(turns, list):
        return messages_of(turns), [question]
    text, used = question_text(record, question, answer)
    return [{"role": "user", "content": text}], used


def from_conversation(record: Example, key: str) -> Converted | None:
    """Converts an object whose `key` is a list of turns with speakers, or the JSON of one; None for any other."""
    turns = decoded(record.get(key))
    if not isinstance(turns, list) or not turns or not all(map(is_turn, turns)):
        return None
    system = system_prompt(record)
    conversation = _Conversation([{"role": "system", "content": system.value}] if system.value else [])
    for turn in turns:
        conversation.add(turn)
    return _with_tools(record, conversation, {key, *system.keys})


def from_turn_pairs(record: Example, key: str) -> Converted | None:
    """Converts an object whose `key` is a list of pairs of question and answer, or its JSON; None for any other."""
    turns = decoded(record.get(key))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    system = system_prompt(record)
    conversation = _Conversation([{"role": "system", "content": system.value}] if system.value else [])
    for turn in turns:
        question, answer = question_key(turn, QUESTION_KEYS), question_key(turn, ANSWER_KEYS)
        own = system_prompt(turn)
        if question is None or answer is None:
            return None
        is_text = is_filled_text(turn[question])
        text, used = question_text(turn, question, answer) if is_text else (turn[question], [question])
        if own.value:
            conversation.messages.append({"role": "system", "content": own.value})
        extra = conversation._extra(turn, {answer, *used, *own.keys}, "assistant")
        if not is_empty(text):
            conversation.messages.append({"role": "user", "content": text})
        conversation.messages.append({"role": "assistant", "content": turn[answer]} | extra)
    return _with_tools(record, conversation, {key, *system.keys})


def _with_tools(record: Example, conversation: _Conversation, used: set[str]) -> Converted:
    example: Example = {"messages": conversation.messages}
    definitions_key = "functions" if is_empty(record.get("tools")) else "tools"
    tools = definitions(record.get(definitions_key))
    if has_call_texts(conversation.messages) and (read := read_call_texts(conversation.messages)):
        example["messages"], from_prompt = read
        tools = tools or definitions(from_prompt)
    if tools:
        example["tools"] = tools
    if isinstance(record.get("parallel_tool_calls"), bool):
        example["parallel_tool_calls"] = record["parallel_tool_calls"]
    result = account(record, example, used | {definitions_key, "parallel_tool_calls"})
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
