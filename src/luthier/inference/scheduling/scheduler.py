"""Rounds: what engines share that read many texts of the base and of several adapters together.

A round is some tokens of prompts that are still to be read, and one token for every answer whose prompt has been: a
long prompt does not hold back answers under way, and these do not hold back a new one. Who is let in, whose turn it
is, what was read before and what is kept is decided here; how tokens are computed and where their keys and values lie
is the engine's.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from luthier.inference.engine import Generation, Token
from luthier.inference.memory.lora_slots import Slots
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.loop import Pass, Stream, Turns
from luthier.inference.scheduling.prefix_cache import Texts, common
from luthier.inference.scheduling.scoring import told, unit

MOST_ANSWERS = 16  # in one pass; more wait
KEPT_BYTES = 1 << 27  # of keys and values: what stays reserved when nothing is under way
_MOST_BYTES = 1 << 30  # of keys and values; an answer that needs more by itself is given it
_PIECE = 512  # tokens of prompts that are read in one round
# Tokens of a prompt that are read at once: attention adds up for one in another order than for several, and how a
# prompt is cut, or how much of it is known, must not decide how an answer is rounded.
_LEAST_READ = 2
_WORTH_WAITING = 64  # tokens that another is reading: fewer are sooner read twice than waited for
_TOLD = 256  # tokens of a text of which something is asked: their logits are in memory at once


class Text:
    """As far as it has been read: its tokens and its adapter's slot; `going_on`: its prompt is behind it."""

    def __init__(self, slot: int | None) -> None:
        self.slot, self.going_on = slot, False
        self.ids: list[int] = []


Read = TypeVar("Read", bound=Text)
Held = TypeVar("Held")


@dataclass(frozen=True)
class Piece(Generic[Read]):
    """The next tokens of a text, one or more; of so many of the last of them it is asked what comes next."""

    text: Read
    ids: Sequence[int]
    asked: int


class Rounds(Turns, Generic[Read, Held]):
    """`Read`: a text as the engine has it, `Held`: what it keeps of one that was read."""

    prompts_together = 1  # of how many prompts a round may read: more where one pass takes all of them

    def __init__(
        self,
        base: Path,
        options: EngineOptions,
        context_tokens: int,
        adapters: Slots[Any],
        let_go: Callable[[Held], None] = lambda _: None,
    ) -> None:
        super().__init__(base, options)
        self.context_tokens = context_tokens
        self._adapters = adapters
        self._texts = Texts[Held](options.prefix_cache_bytes, let_go)
        self._streams: list[Stream] = []  # those that have a text, as their state

    @abstractmethod
    def forward(self, pieces: Sequence[Piece[Read]], hidden: bool) -> torch.Tensor:
        """Logits [N, V], or the last hidden states [N, D], where they are asked for, in the order of the pieces.

        Only one piece is of a text that is not `going_on`, unless `prompts_together` says more.
        """

    @abstractmethod
    def opened(self, slot: int | None, known: tuple[Held, int] | None, tokens: int, alone: bool) -> Read:
        """A text that will have at least so many tokens, of which the first are `known`.

        `alone`: it is never passed together with others.
        """

    @abstractmethod
    def closed(self, text: Read) -> None:
        """Nobody reads on in it: its place is free."""

    @abstractmethod
    def held(self, text: Read, tokens: int) -> tuple[int, Callable[[], Held]]:
        """What keeping so many tokens of a text takes, in bytes, and what does it."""

    @abstractmethod
    def size(self, tokens: Sequence[int]) -> int:
        """Bytes of texts of so many tokens each, under way together."""

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        return self.queued(lambda: Pass(self._embeddings(prompts, adapter))).result

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        return self.queued(lambda: Pass(self._scores(prompt, adapter, top, start))).result

    def advance(self, due: list[Stream]) -> None:
        writing = [stream for stream in due if stream.state and stream.state.going_on]
        pieces = [Piece(stream.state, stream.next_ids[-1:], 1) for stream in writing]
        reading = self._reading(due)
        for stream, ids in reading:
            whole = len(stream.state.ids) + len(ids) == len(stream.generation.prompt)
            pieces.append(Piece(stream.state, ids, int(whole)))
        if not pieces:
            return
        logits = self._read_on(pieces)
        for stream, _ in reading:
            if len(stream.state.ids) == len(stream.generation.prompt):
                stream.state.going_on = True
                self._keep(stream.generation.adapter, stream.state)
                writing.append(stream)
        for stream, row in zip(writing, logits, strict=True):
            self.chosen(stream, row)

    def forget(self, stream: Stream) -> None:
        if stream.state is None:
            return
        text, stream.state = stream.state, None
        self._streams.remove(stream)
        try:
            self._keep(stream.generation.adapter, text)
        finally:
            self.closed(text)

    def _reading(self, due: list[Stream]) -> list[tuple[Stream, list[int]]]:
        """Whose prompts are read on, and the tokens: those that were begun first, then others that are let in."""
        made: list[tuple[Stream, list[int]]] = []
        left = _PIECE
        begun = [stream for stream in due if stream.state and not stream.state.going_on]
        for stream in [*begun, *(stream for stream in due if stream.state is None)]:
            if left < 2 * _LEAST_READ or len(made) == self.prompts_together:
                break
            if stream.state or (self._has_room(stream) and self._admit(stream)):
                rest = stream.generation.prompt[len(stream.state.ids) :]
                count = min(left, len(rest) if len(rest) <= left else len(rest) - _LEAST_READ)
                made.append((stream, rest[:count]))
                left -= count
        return made

    def _has_room(self, stream: Stream) -> bool:
        """For all that the answers under way may become. A key that has none of them has twice the room, so that many
        requests of another do not hold it back.
        """
        times = 1 if any(one.key == stream.key for one in self._streams) else 2
        if len(self._streams) >= times * MOST_ANSWERS:
            return False
        together = [one.generation for one in (*self._streams, stream)]
        tokens = [min(len(one.prompt) + one.sampling.max_tokens, self.context_tokens) for one in together]
        return len(together) == 1 or self.size(tokens) <= times * _MOST_BYTES

    def _admit(self, stream: Stream) -> bool:
        """Gives it a text; False when it cannot be given one, or when its beginning is soon known."""
        generation = stream.generation
        known = self._texts.find(generation.adapter, generation.prompt)
        if self._soon_known(generation, known[1] if known else 0):
            return False
        try:
            stream.state = self._begun(generation.prompt, self._slot(generation.adapter), known, alone=False)
        except Exception as error:
            self.failed(stream, error)
            return False
        stream.cached_tokens = known[1] if known else 0
        self._streams.append(stream)
        return True

    def _soon_known(self, generation: Generation, known: int) -> bool:
        """Whether another is just reading what it begins with, so that it need not be read twice."""
        if not self._options.prefix_cache_bytes:
            return False
        mine = np.asarray(generation.prompt[:-1], dtype=np.int32)
        reading = [one.generation for one in self._streams if not one.state.going_on]
        others = [np.asarray(one.prompt, dtype=np.int32) for one in reading if one.adapter == generation.adapter]
        return max((common(mine, other) for other in others), default=0) - known >= _WORTH_WAITING

    def _slot(self, adapter: Path | None) -> int | None:
        if adapter is None:
            return None
        busy = [stream.generation.adapter for stream in self._streams if stream.generation.adapter]
        return self._adapters.slot(adapter, busy)

    def _begun(self, ids: list[int], slot: int | None, known: tuple[Held, int] | None, alone: bool) -> Read:
        text = self.opened(slot, known, len(ids), alone)
        text.ids = ids[: known[1]] if known else []
        return text

    def _read_on(self, pieces: Sequence[Piece[Read]], hidden: bool = False) -> torch.Tensor:
        made = self.forward(pieces, hidden)
        for piece in pieces:
            piece.text.ids += piece.ids
        return made

    def _keep(self, adapter: Path | None, text: Any, tokens: int | None = None) -> None:
        count = len(text.ids) if tokens is None else tokens
        self._texts.keep(adapter, text.ids[:count], *self.held(text, count))

    def _embeddings(
        self, prompts: Sequence[list[int]], adapter: Path | None
    ) -> Generator[None, None, list[list[float]]]:
        made = []
        for prompt in prompts:
            total = torch.zeros(1, dtype=torch.float32)
            with self._alone(prompt, None) as text:
                while len(text.ids) < len(prompt):
                    text.slot = self._slot(adapter)
                    ids = prompt[len(text.ids) : len(text.ids) + _TOLD]
                    total = total + self._read_on([Piece(text, ids, len(ids))], hidden=True).float().sum(0).cpu()
                    yield
            made.append(unit(total / len(prompt)))
        return made

    def _scores(
        self, prompt: list[int], adapter: Path | None, top: int, start: int
    ) -> Generator[None, None, list[Token]]:
        """What stands before the tokens that are asked for is taken over from texts that were read, and kept."""
        made: list[Token] = []
        known = self._texts.find(adapter, prompt[:start])
        with self._alone(prompt, known) as text:
            while len(made) < len(prompt) - start:
                text.slot = self._slot(adapter)
                ids = self._scored(text, prompt, start)
                asked = max(0, min(len(ids), len(text.ids) + len(ids) + 1 - start))
                logits = self._read_on([Piece(text, ids, asked)])
                made += told(logits, prompt[len(text.ids) + 1 - asked : len(text.ids) + 1], top)
                yield
            if made and 2 * (known[1] if known else 0) < start - 1:  # else most of it is there already
                self._keep(adapter, text, start - 1)
        return made

    def _scored(self, text: Read, prompt: list[int], start: int) -> list[int]:
        """The tokens to read next: more at once as long as nothing is asked of them. The last has nothing after it."""
        at = len(text.ids)
        size = _PIECE if at + _PIECE < start else _TOLD
        return prompt[at : min(at + size, len(prompt) - 1)]

    @contextmanager
    def _alone(self, ids: list[int], known: tuple[Held, int] | None) -> Iterator[Read]:
        text = self._begun(ids, None, known, alone=True)
        try:
            yield text
        finally:
            self.closed(text)
