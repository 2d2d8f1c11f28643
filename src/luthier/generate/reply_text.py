"""Separates the text of a reply from the teacher's thinking, and removes a code fence around it.

Thinking arrives as a block in the text (`<think>…</think>`, `[THINK]…[/THINK]`, the channels of gpt-oss), whose opening
mark may be missing because the chat template has put it into the prompt; as a field beside `content`; or as separate
parts of `content`.
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
    """Text and thinking of a chat completion's message, joined from its parts and fields; thinking may be None."""
    text, thoughts = _joined_parts(message.content)
    thoughts += [str(value) for name in _REASONING_FIELDS if (value := getattr(message, name, None))]
    return _sendable(text), _sendable("\n".join(thoughts)) or None


def split_reasoning(text: str) -> tuple[str, str]:
    """The thinking and the other text of a reply. If a block at the start is never closed, everything is thinking."""
    words, thoughts = text, []
    while start := _STARTS_THINKING.match(words):
        end = _ENDS_THINKING.search(words, start.end())
        if end is None:
            return text, ""
        thoughts.append(words[start.end() : end.start()])
        words = words[end.end() :]
    opening = _MARK.search(words)
    if opening and _ENDS_THINKING.match(words, opening.start()):  # a closing mark comes first: see the module docstring
        *_, end = _ENDS_THINKING.finditer(words)
        thoughts.append(words[: end.start()])
        words = words[end.end() :]
    return "\n".join(thoughts).strip(), words.strip()


def has_thinking_mark(text: str) -> bool:
    """Whether the text contains an opening or closing mark of a thinking block."""
    return _MARK.search(text) is not None


def unfenced(text: str) -> str:
    """The content of a code fence of any language around the whole text; the text itself if there is none."""
    match = _FENCED.fullmatch(text) or _OPEN_FENCE.fullmatch(text)
    return match["body"].strip() if match else text


def unfenced_prose(text: str) -> str:
    """`unfenced` for prose only: code that is the answer itself stays in its fence."""
    match = _FENCED.fullmatch(text) or _OPEN_FENCE.fullmatch(text)
    if match is None:
        return text
    inner = _FENCE_LINE.search(match["body"]) if "fence" in match.groupdict() else None
    if inner and inner["fence"] == match["fence"] and not inner["tag"]:
        return text  # the text is two fenced blocks
    body, tag = match["body"].strip(), match["tag"].lower()
    is_prose = tag in _PROSE_TAGS or (not tag and body.endswith(_SENTENCE_END))
    return body if is_prose else text


def shortened(text: str, characters: int) -> str:
    """The first `characters` characters of a text, with an ellipsis if it is longer."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _joined_parts(content: Any) -> tuple[str, list[str]]:
    """The text and the pieces of thinking in `content`, which is a text, a part, or a list of parts."""
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
    """`text` without lone surrogates, which later requests could not send."""
    return text.encode("utf-8", "replace").decode()
