"""Inputs made from those of a corpus: bytes are changed, and where they are JSON, its values, keys and shape."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

MAX_BYTES = 200_000
_MAX_DEPTH = 130  # past every limit on depth
_TEXTS = (
    "", " ", "\x00", "\ufeff", "\ud800", "\udfff\ud800", "\u2028", "\ue000", "é\u0301", "你好", "🙂‍🙂", "NaN", "1e999",
    "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>", "[TOOL_CALLS]", "[ARGS]",
    "<function=f>", "<parameter=p>", "</parameter>", "<arg_key>", '{"name": "f", "arguments": {}}', "{{ 7 * 7 }}",
    "{% for a in b %}", "../../etc/passwd", "assistant", "system", "tool", "function", "user", "null", "true",
)  # fmt: skip
_NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"))
_PIECES = (
    b"\n",
    b"\r",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc3(",
    b"\x1f\x8b",
    b'"',
    b"\\u",
    b"{",
    b"}",
)


class Mutator:
    """Deterministic for a seed. `corpus` is not empty; of `keys`, names replace others."""

    def __init__(self, corpus: Sequence[bytes], seed: int) -> None:
        self._corpus, self._random = corpus, random.Random(seed)
        documents = [document for text in corpus for document in _documents(text)]
        self._donors = [value for document in documents for value in _values(document)] or [None]
        self._keys = sorted({key for value in self._donors if isinstance(value, dict) for key in value}) or ["a"]
        changes: list[Callable[[Any], Any]] = [
            self._donor, self._text, self._number, self._list, self._object, self._nested, self._repeated, self._altered
        ]  # fmt: skip
        self._changes = changes

    def next(self) -> bytes:
        text = self._random.choice(self._corpus)
        for _ in range(self._random.choice((1, 1, 2, 3, 6))):
            text = self._document(text) if self._random.random() < 0.75 else self._bytes(text)
        return text[:MAX_BYTES]

    # -- JSON -----------------------------------------------------------------------------------------------------

    def _document(self, text: bytes) -> bytes:
        """One line changed as JSON; bytes where it is none."""
        lines = text.split(b"\n")
        index = self._random.randrange(len(lines))
        try:
            value = json.loads(lines[index])
        except (ValueError, RecursionError):
            return self._bytes(text)
        holder = [value]
        container, key = self._random.choice(list(_places(holder)))
        if isinstance(container, dict) and self._random.random() < 0.2:
            self._rename(container, key)
        elif self._random.random() < 0.15 and container is not holder:
            del container[key]
        else:
            container[key] = self._random.choice(self._changes)(container[key])
        written = json.dumps(holder[0], ensure_ascii=self._random.random() < 0.5)
        lines[index] = written.encode("utf-8", "surrogatepass")
        if self._random.random() < 0.1:
            lines.insert(self._random.randrange(len(lines) + 1), self._random.choice(lines))
        return b"\n".join(lines)

    def _rename(self, container: dict[str, Any], key: str) -> None:
        name = self._random.choice((*_TEXTS, *self._keys, *self._keys))
        container[name] = container[key] if self._random.random() < 0.5 else container.pop(key)

    def _donor(self, _: Any) -> Any:
        return self._random.choice(self._donors)

    def _text(self, _: Any) -> Any:
        text = self._random.choice(_TEXTS)
        return text * self._random.choice((1, 1, 1, 2, 300))

    def _number(self, _: Any) -> Any:
        return self._random.choice(_NUMBERS)

    def _list(self, value: Any) -> Any:
        return [value] * self._random.choice((0, 1, 2, 40))

    def _object(self, value: Any) -> Any:
        return {self._random.choice(self._keys): value}

    def _nested(self, value: Any) -> Any:
        for _ in range(self._random.choice((3, 60, _MAX_DEPTH))):
            value = [value] if self._random.random() < 0.5 else {"a": value}
        return value

    def _repeated(self, value: Any) -> Any:
        return value * 2 if isinstance(value, str | list) else [value, value]

    def _altered(self, value: Any) -> Any:
        """The value with other members, texts or sizes, of its own type."""
        if isinstance(value, str):
            place = self._random.randrange(len(value) + 1)
            return value[:place] + self._random.choice(_TEXTS) + value[place + self._random.randrange(3) :]
        if isinstance(value, list):
            return self._random.sample(value, len(value))
        if isinstance(value, bool) or value is None:
            return not value
        return -value - 1 if isinstance(value, int | float) else dict(reversed(value.items()))

    # -- bytes ----------------------------------------------------------------------------------------------------

    def _bytes(self, text: bytes) -> bytes:
        start = self._random.randrange(len(text) + 1)
        end = min(len(text), start + self._random.choice((0, 1, 1, 4, 8, 64)))
        match self._random.randrange(6):
            case 0:
                middle = b""
            case 1:
                middle = self._random.randbytes(end - start)
            case 2:
                middle = self._random.choice(_PIECES)
            case 3:
                middle = text[start:end] * self._random.choice((2, 2, 50))
            case 4:
                donor = self._random.choice(self._corpus)
                begin = self._random.randrange(len(donor) + 1)
                middle = donor[begin : begin + 64]
            case _:
                number = self._random.choice((0, 1, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1))
                middle = number.to_bytes(8, "little")[: end - start or 8]
        return text[:start] + middle + text[end:]


def _documents(text: bytes) -> list[Any]:
    documents = []
    for line in text.split(b"\n"):
        try:
            documents.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return documents


def _values(document: Any) -> list[Any]:
    values = [document]
    for value in values:
        values += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return values


def _places(container: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value in a container."""
    places = []
    open_containers = [container]
    for current in open_containers:
        keys = list(current) if isinstance(current, dict) else range(len(current))
        for key in keys:
            places.append((current, key))
            if isinstance(current[key], dict | list):
                open_containers.append(current[key])
    return places
