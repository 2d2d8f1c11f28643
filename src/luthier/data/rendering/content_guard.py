"""Guards content with special tokens in it, so that it cannot be taken for the template's own marks.

A private-use character that occurs nowhere in the conversation is inserted into every special token of the content.
After templating, the text is split at this character, so that the token is encoded as plain characters.
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
    """Guards against the special tokens of one tokenizer. The definitions, mostly the same ones, are guarded once."""

    def __init__(self, special_texts: list[str]) -> None:
        self._special_texts = sorted(special_texts, key=len)
        self._cache: dict[bytes, _Definitions] = {}

    def apply(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Guarded:
        """Guards messages and definitions. Raises RenderError if the texts use every private-use character."""
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
    """A key that is equal for equal definitions with the same order of keys."""
    try:
        return marshal.dumps(tools, 2)
    except ValueError:  # a number with its own spelling
        return repr(tools).encode(errors="surrogatepass")
