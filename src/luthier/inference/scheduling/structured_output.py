"""Structured outputs: constrained decoding with llguidance grammars (Lark with JSON schemas inside).

Importing this module imports neither torch nor llguidance.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from luthier.types.errors import BadRequestError
from luthier.types.sized_cache import sized_cache

MAX_GRAMMAR_CHARACTERS = 256 * 1024
_STRUCTURE = '"}]qz'  # both letters may follow inside a string, but hardly anywhere else


class GrammarMatcher:
    """The grammar state of one generation; consumes its tokens in order."""

    def __init__(self, grammar: str, base: Path, stop_ids: Iterable[int]) -> None:
        """`base`: the model folder with its tokenizer.json. Raises BadRequestError for a grammar that cannot be
        satisfied."""
        stops = tuple(sorted(stop_ids))
        tokenizer = _tokenizer(base, stops)
        self._matcher: Any = _compiled(grammar, base, stops).deep_copy()
        self._stop_ids = list(stops)
        self._structure_ids = [tokenizer.greedy_tokenize(char)[0] for char in _STRUCTURE]
        self._mask_words = np.zeros((tokenizer.vocab_size + 31) // 32, dtype=np.int32)
        self._raise_error()

    def allowed(self) -> np.ndarray:
        """bool [V] over the tokenizer's vocabulary: tokens that may follow; stop tokens where the output may end."""
        self._matcher.unsafe_compute_mask_ptr(self._mask_words.ctypes.data, self._mask_words.nbytes)
        self._raise_error()
        return np.unpackbits(self._mask_words.view(np.uint8), bitorder="little").astype(bool)

    def closing(self, allowed: np.ndarray) -> np.ndarray:
        """bool [V]: those of the allowed tokens that complete the JSON, or all if there are none.

        They end the output, otherwise a string, otherwise an object or a list.
        """
        quote, brace, bracket, *letters = self._structure_ids
        in_string = bool(allowed[quote] and allowed[letters].all())
        for candidates in (self._stop_ids, [quote] if in_string else [brace, bracket]):
            chosen = np.zeros_like(allowed)
            chosen[candidates] = allowed[candidates]
            if chosen.any():
                return chosen
        return allowed

    def consume(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._raise_error()

    def _raise_error(self) -> None:
        if self._matcher.is_error():
            raise BadRequestError(f"Generation cannot be constrained to the schema: {self._matcher.get_error()}")


def validate_grammar(grammar: str, param: str) -> None:
    """Raises BadRequestError with `param` and the reason."""
    from llguidance import LLMatcher

    reason = f"it is longer than {MAX_GRAMMAR_CHARACTERS} characters" if len(grammar) > MAX_GRAMMAR_CHARACTERS else ""
    reason = reason or LLMatcher.validate_grammar(grammar)
    if reason:
        message = f"Invalid schema for '{param}': {reason.splitlines()[0]}"  # the rest is the grammar
        raise BadRequestError(message, param=param, code="invalid_json_schema")


@sized_cache
def _compiled(grammar: str, base: Path, stop_ids: tuple[int, ...]) -> Any:
    """The compiled grammar in its initial state; copying it takes a thousandth of the time of compiling."""
    from llguidance import LLMatcher

    return LLMatcher(_tokenizer(base, stop_ids), grammar)


@lru_cache(maxsize=8)
def _tokenizer(base: Path, stop_ids: tuple[int, ...]) -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer((base / "tokenizer.json").read_text(encoding="utf-8"), eos_token=list(stop_ids))
