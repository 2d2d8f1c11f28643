"""The words of a reply without what the teacher thought aloud, and without a code fence around them.

Models that reason write it in several ways: a block in the text (`<think>…</think>`, `[THINK]…[/THINK]`, the channels
of gpt-oss), whose opening mark a chat template may already have written into the prompt; a field beside `content`; or
parts of their own inside `content`.
"""

import re
from collections.abc import Mapping
from typing import Any

_NAMES = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad)"
_OPENING = rf"(?:<{_NAMES}(?:\s[^<>\n]*)?>|\[think\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>\s*analysis)"
_FINAL_CHANNEL = r"(?:<\|start\|>assistant)?<\|channel\|>\s*final<\|message\|>"
_CLOSING = rf"(?:</{_NAMES}\s*>|\[/think\]|◁/think▷|<\|end_of_thought\|>|{_FINAL_CHANNEL})"
_STARTS_THINKING = re.compile(rf"\s*{_OPENING}", re.IGNORECASE)
_ENDS_THINKING = re.compile(_CLOSING, re.IGNORECASE)
_MARK = re.compile(rf"{_OPENING}|{_CLOSING}", re.IGNORECASE)
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thoughts")
_REASONING_PARTS = ("thinking", "reasoning", "thought", "redacted_thinking")

_FENCED = re.compile(
    r"\s*(?P<fence>`{3,}|~{3,})[ \t]*(?P<tag>[\w+.-]*)[^\n]*\n(?P<body>.*?)\n?[ \t]*(?P=fence)\s*", re.DOTALL
)
_OPEN_FENCE = re.compile(r"\s*(?:`{3,}|~{3,})[ \t]*(?P<tag>[\w+.-]*)[^\n]*\n(?P<body>.*)", re.DOTALL)
_FENCE_LINE = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<tag>\S*)", re.MULTILINE)
_PROSE_TAGS = ("markdown", "md", "text", "txt", "plain", "plaintext")
_SENTENCE_END = tuple(".!?。！？…")


def text_and_reasoning(message: Any) -> tuple[str, str | None]:
    """(text, reasoning) of a chat completion's message; each may be spread over parts and fields."""
    text, thoughts = _joined_parts(message.content)
    thoughts += [str(value) for name in _REASONING_FIELDS if (value := getattr(message, name, None))]
    return _sendable(text), _sendable("\n".join(thoughts)) or None


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, words). All is reasoning where a block at the start is never closed."""
    words, thoughts = text, []
    while start := _STARTS_THINKING.match(words):
        end = _ENDS_THINKING.search(words, start.end())
        if end is None:
            return text, ""
        thoughts.append(words[start.end() : end.start()])
        words = words[end.end() :]
    opening = _MARK.search(words)
    if opening and _ENDS_THINKING.match(words, opening.start()):  # the template wrote the opening mark
        *_, end = _ENDS_THINKING.finditer(words)
        thoughts.append(words[: end.start()])
        words = words[end.end() :]
    return "\n".join(thoughts).strip(), words.strip()


def has_thinking_mark(text: str) -> bool:
    """Whether a mark of a thinking block is anywhere in the text."""
    return _MARK.search(text) is not None


def unfenced(text: str) -> str:
    """The content of a code fence around the whole text, whatever its language; else the text."""
    match = _FENCED.fullmatch(text) or _OPEN_FENCE.fullmatch(text)
    return match["body"].strip() if match else text


def unfenced_prose(text: str) -> str:
    """As `unfenced`, but code stays in its fence: it is the answer itself."""
    match = _FENCED.fullmatch(text) or _OPEN_FENCE.fullmatch(text)
    if match is None:
        return text
    inner = _FENCE_LINE.search(match["body"]) if "fence" in match.groupdict() else None
    if inner and inner["fence"] == match["fence"] and not inner["tag"]:
        return text  # the first fence ends there, and another follows
    body, tag = match["body"].strip(), match["tag"].lower()
    is_prose = tag in _PROSE_TAGS or (not tag and body.endswith(_SENTENCE_END))
    return body if is_prose else text


def shortened(text: str, characters: int) -> str:
    """The beginning of a text, with an ellipsis where it was cut."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _joined_parts(content: Any) -> tuple[str, list[str]]:
    """(text, reasoning) of content that is a text, a part or a list of parts."""
    if isinstance(content, str):
        return content, []
    if isinstance(content, list):
        pairs = [_joined_parts(part) for part in content]
        return "".join(text for text, _ in pairs), [thought for _, thoughts in pairs for thought in thoughts]
    if not isinstance(content, Mapping):
        return "", []
    if content.get("type") in _REASONING_PARTS:
        values = (content.get(name) for name in ("thinking", "reasoning", "thought", "text", "content", "summary"))
        text, thoughts = _joined_parts(next((value for value in values if value), ""))
        return "", [text, *thoughts]
    value = content.get("text", content.get("content"))
    if isinstance(value, Mapping):  # {"text": {"value": …}}, as in the Assistants API
        value = value.get("value")
    return _joined_parts(value)


def _sendable(text: str) -> str:
    """Lone surrogates cannot be sent in a later request."""
    return text.encode("utf-8", "replace").decode()
