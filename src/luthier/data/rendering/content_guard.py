"""Content with special tokens in it → content that cannot pass for the template's own marks.

A private-use character that occurs nowhere in the conversation is written into every special token of the content;
after templating the text is cut there, so that the token is encoded as the plain characters that it is.
"""

import json
import marshal
from typing import Any, NamedTuple

from luthier.data.jsonl import lossless_json

_MAX_CACHED = 64  # lists of definitions


class Guarded(NamedTuple):
    """Messages and definitions with `mark` inside every special token of their texts."""

    mark: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None


class _Definitions(NamedTuple):
    """One list of definitions: its JSON, and the guarded list."""

    text: str
    mark: str
    tools: list[dict[str, Any]]


class ContentGuard:
    """For the special tokens of one tokenizer. Definitions are guarded once, for most examples have the same ones."""

    def __init__(self, special_texts: list[str]) -> None:
        self._special_texts = sorted(special_texts, key=len)
        self._cache: dict[bytes, _Definitions] = {}

    def apply(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Guarded:
        """Raises RenderError if the texts use every private-use character."""
        if not tools:
            mark = lossless_json.unused_character(messages)
            return Guarded(mark, self._guarded(messages, mark), tools)
        key = _key(tools)
        definitions = self._cache.get(key)
        mark = lossless_json.unused_character(messages, definitions.text if definitions else tools)
        if definitions is None or definitions.mark != mark:
            marked: list[dict[str, Any]] = [lossless_json.CachedObject(tool) for tool in self._guarded(tools, mark)]
            definitions = _Definitions(json.dumps(tools, ensure_ascii=False, default=str), mark, marked)
            if len(self._cache) >= _MAX_CACHED:
                self._cache.pop(next(iter(self._cache)), None)
            self._cache[key] = definitions
        return Guarded(mark, self._guarded(messages, mark), definitions.tools)

    def _guarded(self, value: Any, mark: str) -> Any:
        """A copy with the mark inside every special token."""
        if isinstance(value, str):
            for special in self._special_texts:
                if special in value:
                    value = value.replace(special, special[:1] + mark + special[1:])
            return value
        if isinstance(value, list):
            return [self._guarded(element, mark) for element in value]
        if isinstance(value, dict):
            return {self._guarded(key, mark): self._guarded(member, mark) for key, member in value.items()}
        return value


def _key(tools: list[dict[str, Any]]) -> bytes:
    """Equal for equal definitions in the same order of keys."""
    try:
        return marshal.dumps(tools, 2)
    except ValueError:  # a number with its own spelling
        return repr(tools).encode(errors="surrogatepass")
