"""Preference pairs of other formats → OpenAI's: a conversation, a preferred answer and another one.

The answers are texts, messages, or whole conversations that differ in the last message. Any of these may be JSON text;
a conversation may be one text in which "Human:" and "Assistant:" mark the turns.
"""

import re
from typing import Any

from luthier.data.convert.conversations import definitions, is_turn, messages_of, question_messages
from luthier.data.convert.records import (
    ANSWER_KEYS,
    HISTORIES,
    Converted,
    Example,
    account,
    decoded,
    find,
    history_turns,
    question_key,
    system_prompt,
)
from luthier.data.examples.foreign_forms import rejected_key

_CHOSEN = frozenset(("chosen", "chosen_response", "chosen_output", "chosen_messages", "preferred"))
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_SPEAKER_ROLES = {"Human": "user", "Assistant": "assistant"}
_CONVERSATIONS = ("messages", "conversations", "conversation")
_PROMPTS = ("prompt", "instruction", "question", "query", "input", "问题", "提问", "问")


def from_preference(record: Example) -> Converted | None:
    """Converts an object with a rejected answer; None for an object without one, or whose sides do not match."""
    worse_key, chosen_key = rejected_key(record), find(record, _CHOSEN)
    if worse_key is None:
        return None
    if chosen_key is None and find(record, _CONVERSATIONS) is None:
        chosen_key = question_key(record, ANSWER_KEYS)
    prompt, used, tools = _prompt(record, {worse_key, chosen_key or ""})
    rejected = _side(record[worse_key], bool(prompt))
    if chosen_key is None:
        chosen = prompt  # the conversation ends with the good answer
        prompt = []
    else:
        chosen = _side(record[chosen_key], bool(prompt))
        used.add(chosen_key)
    used.add(worse_key)
    pair = _pair(prompt, chosen, rejected)
    if pair is None:
        return None
    tools = tools or _tools_inside(record, chosen_key or worse_key)
    if tools:
        pair["input"]["tools"] = tools
    return account(record, pair, used)


def _pair(prompt: list[Example], chosen: list[Example], rejected: list[Example]) -> Example | None:
    if not chosen or not rejected:
        return None
    if prompt[-1:] == chosen[-1:]:  # a conversation that ends with the chosen answer
        prompt = prompt[:-1]
    if not prompt or len(chosen) > 1:
        before = chosen[:-1]
        if prompt and before[-len(prompt) :] != prompt and prompt[: len(before)] != before:
            return None
        prompt = before if len(before) >= len(prompt) else prompt
    if len(rejected) > 1 and rejected[:-1] != prompt:
        return None
    if not prompt:
        return None
    return {"input": {"messages": prompt}, "preferred_output": chosen[-1:], "non_preferred_output": rejected[-1:]}


def _side(value: Any, has_prompt: bool) -> list[Example]:
    """The messages of one side, the answer last; [] for a value that is neither text nor messages."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    conversation = decoded(value)
    if isinstance(conversation, dict):
        conversation = conversation.get("messages") or [conversation]
    if isinstance(conversation, list) and conversation and all(map(is_turn, conversation)):
        return messages_of(conversation)
    if not isinstance(value, str):
        return []
    return ([] if has_prompt else _marked_turns(value)) or [{"role": "assistant", "content": value}]


def _marked_turns(text: str) -> list[Example]:
    """The messages of a text that begins with a speaker's label; [] for any other text."""
    before, *rest = _SPEAKER.split(text.strip())
    turns = zip(rest[::2], rest[1::2], strict=True)
    return (
        [] if before else [{"role": _SPEAKER_ROLES[speaker], "content": content.strip()} for speaker, content in turns]
    )


def _prompt(record: Example, answers: set[str]) -> tuple[list[Example], set[str], Any]:
    """(the messages before the answers, the keys that hold them, the definitions)."""
    system = system_prompt(record)
    used = {*system.keys, "tools"}
    messages: list[Example] = [{"role": "system", "content": system.value}] if system.value else []
    history = find(record, HISTORIES)
    turns = history_turns(record[history]) if history else []
    if history and turns is not None:
        used.add(history)
        for asked, answered in turns:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    others = {key: value for key, value in record.items() if key not in answers}
    key = find(others, _CONVERSATIONS) or question_key(others, _PROMPTS)
    if key and isinstance(record[key], list | str):
        question, keys = question_messages(record, key)
        messages += question
        used |= {*keys}
    return messages, used, definitions(record.get("tools"))


def _tools_inside(record: Example, key: str) -> Any:
    """The definitions beside the messages of one side; None without any."""
    side = decoded(record[key])
    return definitions(side.get("tools")) if isinstance(side, dict) else None
