"""Stage 4, OpenAI token counts: texts in, their numbers of o200k_base tokens (gpt-4o and gpt-4.1 families) out.

The package bpe_openai counts fast, but its vocabulary takes 66 MB of memory. For a small file, only the tokens that can
occur in it are read from the package's data.
"""

import gzip
import json
import sys
from binascii import a2b_base64
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from luthier.data.examples.example import Example

CountTokens = Callable[[Sequence[str]], list[int]]  # texts → the number of tokens of each

_VOCABULARY = "o200k_base"
_SMALL_FILE_BYTES = 50_000
_MAX_PIECE_BYTES = 1_000  # the time for merging grows with the square of a piece's length
_LETTERS = r"\p{Lm}\p{Lo}\p{M}"  # letters of scripts without case, and combining marks
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PIECES = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}{_LETTERS}]*[\p{{Ll}}{_LETTERS}]+{_SUFFIX}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}{_LETTERS}]+[\p{{Ll}}{_LETTERS}]*{_SUFFIX}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_NO_TOKEN = sys.maxsize


def openai_counter(file_bytes: int) -> CountTokens | None:
    """A token counter suited to the texts of a file of this size; None if bpe_openai is not installed."""
    package = find_spec("bpe_openai")
    if package is None or not package.submodule_search_locations:
        return None
    bindings = PathFinder.find_spec("bpe_openai._bindings", package.submodule_search_locations)
    if bindings is None or bindings.loader is None:
        return None
    data = Path(package.submodule_search_locations[0]) / "data" / f"{_VOCABULARY}.tiktoken.gz"
    is_small = file_bytes <= _SMALL_FILE_BYTES and data.is_file()
    return _SmallCounter(data, bindings).counts if is_small else _whole_counter(bindings)


def openai_texts(example: Example) -> tuple[list[str], int]:
    """(the texts of an example whose tokens OpenAI bills, the number of tokens billed in addition).

    The latter is 3 per example, 3 per message and 1 per name (source: OpenAI's cookbook). Definitions and calls are
    counted as JSON, which approximates OpenAI's own rendering.
    """
    texts, others = [], 3
    for message in example.messages:
        texts += [_as_text(value) for key, value in message.items() if key != "weight" and value]
        others += 3 + bool(message.get("name"))
    if example.tools:
        definitions = [tool["function"] for tool in example.tools] if example.has_functions else example.tools
        texts.append(_as_text(definitions))
    return texts, others


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _whole_counter(bindings: ModuleSpec) -> CountTokens:
    """A counter with the whole vocabulary.

    Importing the package would load three vocabularies (half a second, 100 MB); this loads the extension module alone,
    and one vocabulary.
    """
    module = sys.modules.get(bindings.name) or module_from_spec(bindings)
    if bindings.name not in sys.modules and bindings.loader:
        sys.modules[bindings.name] = module  # an extension module can be initialised only once
        bindings.loader.exec_module(module)
    # Definitions and system prompts, the longest texts of many files, are the same in most examples.
    count = lru_cache(maxsize=64)(module.tokenizer_for_encoding(_VOCABULARY).count)
    return lambda texts: [count(text) for text in texts]


class _SmallCounter:
    """Byte-pair encoding with the few tokens that can occur in the texts."""

    def __init__(self, data: Path, bindings: ModuleSpec) -> None:
        self._data, self._bindings = data, bindings
        self._split = Split(Regex(_PIECES), "isolated").pre_tokenize_str

    @cached_property
    def _count_with_all(self) -> CountTokens:
        return _whole_counter(self._bindings)

    def counts(self, texts: Sequence[str]) -> list[int]:
        pieces = {text: Counter(piece.encode() for piece, _ in self._split(text)) for text in dict.fromkeys(texts)}
        unique = {piece for counter in pieces.values() for piece in counter}
        if max(map(len, unique), default=0) > _MAX_PIECE_BYTES:
            return self._count_with_all(texts)
        ranks = _ranks(self._data, b"\0".join(unique))
        lengths = {piece: _merged_length(piece, ranks) for piece in unique}
        totals = {text: sum(lengths[piece] * n for piece, n in counter.items()) for text, counter in pieces.items()}
        return [totals[text] for text in texts]


def _ranks(data: Path, text: bytes) -> dict[bytes, int]:
    """The merge rank of each token that is longer than one byte and occurs in `text`."""
    beginnings = {text[start : start + size] for size in (2, 3, 4) for start in range(len(text) - size + 1)}
    with gzip.open(data) as lines:
        tokens = enumerate(a2b_base64(line.split(b" ", 1)[0]) for line in lines)  # the most frequent merge first
        return {token: rank for rank, token in tokens if token[:4] in beginnings and token in text}


def _merged_length(piece: bytes, ranks: dict[bytes, int]) -> int:
    """The number of tokens of a piece: the adjacent pair of lowest rank is merged until no pair has a rank."""
    parts = [piece[n : n + 1] for n in range(len(piece))]
    pairs = [ranks.get(piece[n : n + 2], _NO_TOKEN) for n in range(len(piece) - 1)]
    while pairs and (lowest := min(pairs)) != _NO_TOKEN:
        place = pairs.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        del pairs[place]
        for left in range(max(place - 1, 0), min(place + 1, len(pairs))):
            pairs[left] = ranks.get(parts[left] + parts[left + 1], _NO_TOKEN)
    return len(parts)
