"""Examples as token ids and weights in files, read where they are needed: a million of them take no memory.

From a JSONL file, once per job; a job that goes on finds them there. Knows nothing about the model but its context
length.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.examples import Example, read_examples
from luthier.data.preferences import read_preferences
from luthier.data.render import Renderer
from luthier.training.state import flush
from luthier.types.errors import JobError, RenderError

_PARTS = {"supervised": 1, "dpo": 2}


@dataclass(frozen=True)
class Tokens:
    """One conversation: `ids` int32 [T]; `weights` float32 [T], the weight of token t as a target."""

    ids: np.ndarray
    weights: np.ndarray


class Dataset:
    """`truncated` counts conversations that were longer than the base model's context and lost their end."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.truncated: int = about["truncated"]
        self.longest: int = about["longest"]
        self._parts: int = about["parts"]
        self._ends = np.memmap(folder / "ends", dtype=np.int64, mode="r")
        self._ids = np.memmap(folder / "ids", dtype=np.int32, mode="r")
        self._weights = np.memmap(folder / "weights", dtype=np.float32, mode="r")

    def __len__(self) -> int:
        return len(self._ends) // self._parts

    @property
    def tokens(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Tokens, ...]:
        """Supervised: one conversation. dpo: with the preferred answer, and with the other."""
        first = index * self._parts
        return tuple(self._conversation(place) for place in range(first, first + self._parts))

    def _conversation(self, place: int) -> Tokens:
        part = slice(int(self._ends[place - 1]) if place else 0, int(self._ends[place]))
        return Tokens(np.array(self._ids[part]), np.array(self._weights[part]))


def load(path: Path, renderer: Renderer, context_tokens: int, param: str, method: str = "supervised") -> Dataset:
    """Raises JobError when an example has nothing to train."""
    folder = path.with_suffix(".tokens")
    if not folder.exists():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        _write(new, path, renderer, context_tokens, param, method)
        for file in new.iterdir():
            flush(file)
        new.rename(folder)
    return Dataset(folder)


def _write(folder: Path, path: Path, renderer: Renderer, context_tokens: int, param: str, method: str) -> None:
    truncated = longest = end = 0
    with ExitStack() as files:
        ids, weights, ends = (files.enter_context((folder / name).open("wb")) for name in ("ids", "weights", "ends"))
        for example in _conversations(path, method):
            made, whole = _render(example, renderer, context_tokens, param)
            truncated += whole > context_tokens
            longest, end = max(longest, len(made.ids)), end + len(made.ids)
            ids.write(made.ids.tobytes())
            weights.write(made.weights.tobytes())
            ends.write(np.int64(end).tobytes())
    about = {"parts": _PARTS[method], "truncated": truncated, "longest": longest}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _conversations(path: Path, method: str) -> Iterator[Example]:
    if method != "dpo":
        yield from read_examples(path)
        return
    for pair in read_preferences(path):
        yield pair.preferred
        yield pair.non_preferred


def _render(example: Example, renderer: Renderer, context_tokens: int, param: str) -> tuple[Tokens, int]:
    """(the conversation cut to the context, its whole length)."""
    try:
        whole = renderer.example(example)
    except RenderError as error:
        raise JobError(f"invalid_{param}", f"Line {example.line}: {error}", param) from error
    kept: Any = slice(context_tokens)
    made = Tokens(np.array(whole.ids[kept], dtype=np.int32), np.array(whole.weights[kept], dtype=np.float32))
    if not made.weights[1:].any():
        why = f"beyond {context_tokens} tokens" if any(whole.weights[1:]) else "with a weight of 0"
        raise JobError(
            f"invalid_{param}",
            f"Line {example.line} has nothing to train: every assistant answer lies {why}. "
            "Shorten the example or remove it.",
            param,
        )
    return made, len(whole.ids)
