"""Rendered examples as token ids and loss weights in memory-mapped files: memory does not grow with the data set.

Written from a JSONL file once per job; a resumed job reads the same files. Independent of the model, except for its
chat template and context length.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from luthier.data.examples.example import Example, read_examples
from luthier.data.examples.preferences import read_preferences
from luthier.data.examples.reasoning import by_reasoning
from luthier.data.examples.tool_definitions import DETAIL_LEVELS, DefinitionDetail
from luthier.data.rendering import result_turns
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.tool_dropout import NoCallExamples, ToolDropout, apply_detail
from luthier.training.durable_files import new_folder
from luthier.types.errors import JobError, RenderError

_SEQUENCES_PER_EXAMPLE = {"supervised": 1, "dpo": 2}


@dataclass(frozen=True)
class TokenSequence:
    """One rendered conversation: `ids` int32 [T]; `weights` float32 [T], the loss weight of token t as a target."""

    ids: np.ndarray
    weights: np.ndarray


class Dataset:
    """`truncated`: conversations that exceeded the base model's context. `added`: examples that are not in the file.
    `continued`: examples that end with a call in the file and were continued with a result and an answer.
    `in_file`: the examples of the file. `call_share`: of those, the ones that call a function, preference pairs
    apart.

    `views`: renderings of each example, three with tool-definition dropout (full, slim and no definitions), else one.
    """

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.truncated: int = about["truncated"]
        self.longest: int = about["longest"]
        self.views: int = about["views"]
        self.added: int = about["added"]
        self.continued: int = about.get("continued", 0)  # absent in folders of earlier versions
        self.call_share: float = about.get("call_share", 0)
        self._sequences: int = about["parts"]
        self._ends = np.memmap(folder / "ends", dtype=np.int64, mode="r")
        self._ids = np.memmap(folder / "ids", dtype=np.int32, mode="r")
        self._weights = np.memmap(folder / "weights", dtype=np.float32, mode="r")
        self.in_file: int = about.get("in_file", len(self))

    def __len__(self) -> int:
        return len(self._ends) // (self._sequences * self.views)

    def tokens(self, views: np.ndarray | None = None) -> int:
        """The tokens of all examples, each in the view selected by `views` int8 [N]; None: the first view."""
        lengths = np.diff(self._ends, prepend=0).reshape(len(self), self.views, self._sequences).sum(-1)
        if views is None or self.views == 1:
            return int(lengths[:, 0].sum())
        return int(np.take_along_axis(lengths, views[:, None].astype(np.int64), 1).sum())

    def example(self, index: int, view: int = 0) -> tuple[TokenSequence, ...]:
        """The sequences of an example. Supervised: one conversation. DPO: that with the preferred answer, then that
        with the other."""
        first = (index * self.views + min(view, self.views - 1)) * self._sequences
        return tuple(self._sequence(place) for place in range(first, first + self._sequences))

    def _sequence(self, index: int) -> TokenSequence:
        span = slice(int(self._ends[index - 1]) if index else 0, int(self._ends[index]))
        return TokenSequence(np.array(self._ids[span]), np.array(self._weights[span]))


@dataclass(frozen=True)
class Options:
    """How a file is rendered. `result_turns`: see `luthier.data.rendering.result_turns`, the share of the examples."""

    renderer: Renderer
    context_tokens: int
    method: str = "supervised"
    dropout: ToolDropout = field(default_factory=lambda: ToolDropout(1, 0, 0))
    result_turns: float = 0
    seed: int = 0


def load(path: Path, options: Options, param: str, *, add_examples: bool = False) -> Dataset:
    """Load the data set of a JSONL file, rendering it beside the file unless that has been done.

    `add_examples`: with tool-definition dropout, append examples without a call to a file that has none; and continue
    a share of the examples that end with a call, in a file without answers after results.
    Raises JobError for an example without trained tokens; `param` is the job parameter that names the file.
    """
    folder = path.with_suffix(".tokens")
    if not folder.exists():
        with new_folder(folder) as new:
            _write(new, path, options, param, add_examples)
    return Dataset(folder)


def _write(folder: Path, path: Path, options: Options, param: str, add_examples: bool) -> None:
    dropout = options.method == "supervised" and not options.dropout.is_off and _has_definitions(path)
    additions = NoCallExamples()
    continued = _lines_to_continue(path, options) if add_examples else frozenset()
    conversations = with_calls = 0
    with ExitStack() as files:
        streams = [files.enter_context((folder / name).open("wb")) for name in ("ids", "weights", "ends")]
        writer = _Writer(streams, options, param, DETAIL_LEVELS if dropout else None)
        for example in _conversations(path, options.method):
            whole = result_turns.with_result(example, options.seed) if example.line in continued else example
            for part in by_reasoning(whole) if options.method == "supervised" else (whole,):
                writer.write(part)
            conversations += 1
            with_calls += example.has_calls
            if dropout and add_examples:
                additions.observe(example)
        added = additions.examples(options.seed)
        for example in added:
            writer.write(example)
    about = {
        "parts": _SEQUENCES_PER_EXAMPLE[options.method],
        "views": len(DETAIL_LEVELS) if dropout else 1,
        "truncated": writer.truncated,
        "longest": writer.longest,
        "added": len(added),
        "continued": len(continued),
        "in_file": conversations // _SEQUENCES_PER_EXAMPLE[options.method],
        "call_share": with_calls / max(conversations, 1) if options.method == "supervised" else 0,
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


class _Writer:
    """Appends conversations to the files `ids`, `weights` and `ends`. `views` None: one unchanged view."""

    def __init__(
        self, streams: Sequence[IO[bytes]], options: Options, param: str, views: Sequence[DefinitionDetail] | None
    ) -> None:
        self._ids, self._weights, self._ends = streams
        self._options, self._param, self._views = options, param, views
        self.truncated = self.longest = self._end = 0

    def write(self, example: Example) -> None:
        views = [apply_detail(example, view) for view in self._views] if self._views else [example]
        for number, view in enumerate(views):
            sequence, full_length = _render(view, self._options, self._param)
            if number == 0 and full_length > self._options.context_tokens:
                self.truncated += 1
            self.longest, self._end = max(self.longest, len(sequence.ids)), self._end + len(sequence.ids)
            self._ids.write(sequence.ids.tobytes())
            self._weights.write(sequence.weights.tobytes())
            self._ends.write(np.int64(self._end).tobytes())


def _lines_to_continue(path: Path, options: Options) -> frozenset[int]:
    if options.method != "supervised" or not options.result_turns:
        return frozenset()
    return result_turns.lines_to_continue(read_examples(path), options.result_turns, options.seed)


def _has_definitions(path: Path) -> bool:
    return any(example.tools for example in read_examples(path))


def _conversations(path: Path, method: str) -> Iterator[Example]:
    if method != "dpo":
        yield from read_examples(path)
        return
    for pair in read_preferences(path):
        yield pair.preferred
        yield pair.non_preferred


def _render(example: Example, options: Options, param: str) -> tuple[TokenSequence, int]:
    """(the conversation, truncated to the context; its full length)."""
    try:
        rendered = options.renderer.example(example)
    except RenderError as error:
        raise JobError(f"invalid_{param}", f"Line {example.line}: {error}", param) from error
    context: Any = slice(options.context_tokens)
    sequence = TokenSequence(
        np.array(rendered.ids[context], dtype=np.int32), np.array(rendered.weights[context], dtype=np.float32)
    )
    if not sequence.weights[1:].any():
        beyond = f"beyond {options.context_tokens} tokens"
        why = beyond if any(rendered.weights[1:]) else "with a weight of 0"
        raise JobError(
            f"invalid_{param}",
            f"Line {example.line} has nothing to train: every assistant answer lies {why}. "
            "Shorten the example or remove it.",
            param,
        )
    return sequence, len(rendered.ids)
