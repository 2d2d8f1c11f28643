"""Constrained decoding: a grammar in, before each token the set of those that may follow.

Grammars are llguidance's (Lark with JSON schemas inside); what they describe is for others to say. Importing this
module imports neither torch nor the grammar engine.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from luthier.types.errors import BadRequestError

GRAMMAR_CHARACTERS = 256 * 1024


class Matcher:
    """One answer being written. Feed it every token that was chosen, in order."""

    def __init__(self, grammar: str, base: Path, stop_ids: Iterable[int]) -> None:
        """`base`: the model folder, for its tokenizer.json. Raises BadRequestError for a grammar that cannot be met."""
        stops = tuple(sorted(stop_ids))
        tokenizer = _tokenizer(base, stops)
        self._matcher: Any = _compiled(grammar, base, stops).deep_copy()
        self._words = np.zeros((tokenizer.vocab_size + 31) // 32, dtype=np.int32)
        self._raise_error()

    def allowed(self) -> np.ndarray:
        """bool [V] over the tokenizer's vocabulary: what may come next; stop tokens where the answer may end."""
        self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        self._raise_error()
        return np.unpackbits(self._words.view(np.uint8), bitorder="little").astype(bool)

    def take(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._raise_error()

    def _raise_error(self) -> None:
        if self._matcher.is_error():
            raise BadRequestError(f"The answer cannot be held to its schema: {self._matcher.get_error()}")


def check(grammar: str, param: str) -> None:
    """Raises BadRequestError for a grammar that the engine does not take, with the reason."""
    from llguidance import LLMatcher

    why = f"it is longer than {GRAMMAR_CHARACTERS} characters" if len(grammar) > GRAMMAR_CHARACTERS else ""
    why = why or LLMatcher.validate_grammar(grammar)
    if why:
        message = f"Invalid schema for '{param}': {why}"
        raise BadRequestError(message, param=param, code="invalid_json_schema")


@lru_cache(maxsize=64)
def _compiled(grammar: str, base: Path, stop_ids: tuple[int, ...]) -> Any:
    """At its beginning: an answer goes on with a copy, which takes a thousandth of the time."""
    from llguidance import LLMatcher

    return LLMatcher(_tokenizer(base, stop_ids), grammar)


@lru_cache(maxsize=8)
def _tokenizer(base: Path, stop_ids: tuple[int, ...]) -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer((base / "tokenizer.json").read_text(encoding="utf-8"), eos_token=list(stop_ids))
