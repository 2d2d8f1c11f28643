"""Examples as token ids and weights in files, read where they are needed: a million of them take no memory.

From a JSONL file, once per job; a job that goes on finds them there. Knows nothing about the model but its context
length.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.examples.example import Example, read_examples
from luthier.data.examples.preferences import read_preferences
from luthier.data.examples.tool_definitions import SHOWN, Shown
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.tool_dropout import Additions, Mix, show
from luthier.training.resume_state import flush
from luthier.types.errors import JobError, RenderError

_PARTS = {"supervised": 1, "dpo": 2}


@dataclass(frozen=True)
class Tokens:
    """One conversation: `ids` int32 [T]; `weights` float32 [T], the weight of token t as a target."""

    ids: np.ndarray
    weights: np.ndarray


class Dataset:
    """`truncated` counts conversations that were longer than the base model's context and lost their end.

    `views`: in how many ways each example lies here: with full, slim and no definitions, or in one way. `added` counts
    examples that are not of the file.
    """

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.truncated: int = about["truncated"]
        self.longest: int = about["longest"]
        self.views: int = about["views"]
        self.added: int = about["added"]
        self._parts: int = about["parts"]
        self._ends = np.memmap(folder / "ends", dtype=np.int64, mode="r")
        self._ids = np.memmap(folder / "ids", dtype=np.int32, mode="r")
        self._weights = np.memmap(folder / "weights", dtype=np.float32, mode="r")

    def __len__(self) -> int:
        return len(self._ends) // (self._parts * self.views)

    def tokens(self, shown: np.ndarray | None = None) -> int:
        """Of every example once, each in the view that `shown` int8 [N] says; None: in the first."""
        lengths = np.diff(self._ends, prepend=0).reshape(len(self), self.views, self._parts).sum(-1)
        if shown is None or self.views == 1:
            return int(lengths[:, 0].sum())
        return int(np.take_along_axis(lengths, shown[:, None].astype(np.int64), 1).sum())

    def example(self, index: int, view: int = 0) -> tuple[Tokens, ...]:
        """Supervised: one conversation. dpo: with the preferred answer, and with the other."""
        first = (index * self.views + min(view, self.views - 1)) * self._parts
        return tuple(self._conversation(place) for place in range(first, first + self._parts))

    def _conversation(self, place: int) -> Tokens:
        part = slice(int(self._ends[place - 1]) if place else 0, int(self._ends[place]))
        return Tokens(np.array(self._ids[part]), np.array(self._weights[part]))


@dataclass(frozen=True)
class Reading:
    """How a file becomes a dataset. `mix` is for supervised files whose examples carry definitions."""

    renderer: Renderer
    context_tokens: int
    method: str = "supervised"
    mix: Mix = field(default_factory=lambda: Mix(1, 0, 0))
    seed: int = 0


def load(path: Path, reading: Reading, param: str, *, add: bool = False) -> Dataset:
    """`add`: also examples without a call, where the file lacks them. Raises JobError for one with nothing to train."""
    folder = path.with_suffix(".tokens")
    if not folder.exists():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        _write(new, path, reading, param, add)
        for file in new.iterdir():
            flush(file)
        new.rename(folder)
    return Dataset(folder)


def _write(folder: Path, path: Path, reading: Reading, param: str, add: bool) -> None:
    truncated = longest = end = 0
    mixed = reading.method == "supervised" and not reading.mix.plain and _defines(path)
    views: Sequence[Shown] = SHOWN if mixed else ("full",)
    additions = Additions()
    with ExitStack() as files:
        ids, weights, ends = (files.enter_context((folder / name).open("wb")) for name in ("ids", "weights", "ends"))

        def write(example: Example) -> None:
            nonlocal truncated, longest, end
            for shown in views:
                seen = show(example, shown) if mixed else example
                made, whole = _render(seen, reading.renderer, reading.context_tokens, param)
                truncated += whole > reading.context_tokens and shown == views[0]
                longest, end = max(longest, len(made.ids)), end + len(made.ids)
                ids.write(made.ids.tobytes())
                weights.write(made.weights.tobytes())
                ends.write(np.int64(end).tobytes())

        for example in _conversations(path, reading.method):
            write(example)
            if mixed and add:
                additions.see(example)
        added = additions.examples(reading.seed)
        for example in added:
            write(example)
    about = {"parts": _PARTS[reading.method], "views": len(views), "truncated": truncated, "longest": longest}
    (folder / "about.json").write_text(json.dumps(about | {"added": len(added)}), encoding="utf-8")


def _defines(path: Path) -> bool:
    return any(example.tools or example.functions for example in read_examples(path))


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
