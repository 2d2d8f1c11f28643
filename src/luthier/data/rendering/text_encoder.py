"""Text → token ids. Long parts that many texts share, such as definitions, are encoded once.

A tokenizer first splits a text at its special tokens and encodes every part by itself, so a text can be cut before a
special token without changing its ids.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer

from luthier.hardware import release_memory

_CACHED_CHARACTERS = 500  # shorter parts are seldom shared, and quickly encoded
_MAX_CACHED = 64  # parts


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json, cached for all models on the same base. Raises OSError, ValueError."""
    status = file.stat()
    return _parsed(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _parsed(file: Path, *_: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))  # takes half the memory of parsing a string
    except Exception as error:  # the library raises no narrower class
        raise ValueError(f"{file.name}: {error}") from error
    release_memory()  # parsing takes more than twice the memory of the result
    return tokenizer


class TextEncoder:
    """Encodes texts without adding special tokens; those that occur in a text are encoded as such."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[str, list[int]] = {}
        tokens = tokenizer.get_added_tokens_decoder().values()
        # A text must not be cut before tokens that depend on the characters around them, or match normalized text.
        is_plain = not any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in tokens)
        longest_first = sorted((token.content for token in tokens), key=len, reverse=True)
        self._cuts = re.compile("|".join(map(re.escape, longest_first))) if is_plain and longest_first else None

    def encode(self, text: str) -> list[int]:
        return [token for part in self._parts(text) for token in self._encode_part(part)]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. Parts that are not cached are encoded together, on all CPU cores."""
        parts = [self._parts(text) for text in texts]
        ids = dict(self._cache)
        unknown = [part for part in dict.fromkeys(part for text in parts for part in text) if part not in ids]
        for part, encoding in zip(
            unknown, self._tokenizer.encode_batch_fast(unknown, add_special_tokens=False), strict=True
        ):
            ids[part] = self._remember(part, encoding.ids)
        return [ids[text[0]] if len(text) == 1 else [token for part in text for token in ids[part]] for text in parts]

    def _encode_part(self, part: str) -> list[int]:
        ids = self._cache.get(part)
        return (
            ids if ids is not None else self._remember(part, self._tokenizer.encode(part, add_special_tokens=False).ids)
        )

    def _remember(self, part: str, ids: list[int]) -> list[int]:
        if len(part) >= _CACHED_CHARACTERS:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.pop(next(iter(self._cache)), None)
            self._cache[part] = ids
        return ids

    def _parts(self, text: str) -> list[str]:
        """The parts of a long text, cut before its special tokens; a short text as a whole."""
        if self._cuts is None or len(text) < _CACHED_CHARACTERS:
            return [text]
        starts = [0, *(match.start() for match in self._cuts.finditer(text) if match.start()), len(text)]
        return [text[start:end] for start, end in pairwise(starts)]
