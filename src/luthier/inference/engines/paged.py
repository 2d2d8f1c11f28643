"""Engines that read all texts of a round in one pass, whose keys and values lie in blocks.

Texts that begin alike share blocks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.hardware import choose as choose_hardware
from luthier.inference.engines.fused_model import FusedModel
from luthier.inference.memory.block_pool import Blocks
from luthier.inference.memory.lora_slots import Slots
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.scheduler import KEPT_BYTES, MOST_ANSWERS, Piece, Rounds, Text
from luthier.types.errors import BaseModelError

_FIRST_PLACES = 1024  # of texts, whose rotary positions are computed at first


@dataclass(frozen=True)
class Part:
    """Some tokens of a text, which lie behind `past` others in its blocks; there is room for them.

    `asked`: of how many of the last of them something is wanted.
    """

    ids: Sequence[int]
    past: int
    blocks: Sequence[int]
    slot: int | None
    asked: int


class Paged(FusedModel, ABC):
    """A model that makes such passes."""

    blocks: Blocks
    adapters: Slots[Any]

    @abstractmethod
    def run(self, parts: Sequence[Part], hidden: bool) -> torch.Tensor:
        """Logits [N, V] or the last hidden states [N, D] of the tokens that are asked for; good until the next run."""


class Rotary:
    """Cosines and sines of places, computed when they are first needed."""

    def __init__(self, model: Any) -> None:
        """`model`: of transformers."""
        self._compute = model.model.rotary_emb
        self._turns = torch.empty(2, 0, 0, dtype=torch.float32)

    def turns(self, places: int) -> torch.Tensor:
        """[2, P, K] of at least so many places."""
        if self._turns.shape[1] < places:
            at = torch.arange(max(_FIRST_PLACES, 2 * places))[None]
            self._turns = torch.cat(self._compute(torch.zeros(1, dtype=torch.float32), at))
        return self._turns


class _Blocks(Text):
    def __init__(self, slot: int | None, blocks: list[int]) -> None:
        super().__init__(slot)
        self.blocks = blocks


class PagedEngine(Rounds[_Blocks, list[int]]):
    prompts_together = MOST_ANSWERS

    def __init__(self, base: Path, options: EngineOptions, model: Paged) -> None:
        self._model, self._blocks = model, model.blocks
        super().__init__(base, options, model.context_tokens, model.adapters, self._blocks.release)
        self.start()

    def forward(self, pieces: Sequence[Piece[_Blocks]], hidden: bool) -> torch.Tensor:
        parts = []
        for piece in pieces:
            text, past = piece.text, len(piece.text.ids)
            self._blocks.extended(text.blocks, past + len(piece.ids))
            parts.append(Part(piece.ids, past, text.blocks, text.slot, piece.asked))
        return self._model.run(parts, hidden)

    def opened(self, slot: int | None, known: tuple[list[int], int] | None, tokens: int, alone: bool) -> _Blocks:
        text = _Blocks(slot, [])
        if known:
            blocks, (whole, rest) = known[0], divmod(known[1], self._blocks.tokens)
            last = [self._blocks.copy(blocks[whole])] if rest else []
            text.blocks = self._blocks.share(blocks[:whole]) + last
        return text

    def closed(self, text: _Blocks) -> None:
        self._blocks.release(text.blocks)
        self._blocks.forget(KEPT_BYTES)

    def held(self, text: _Blocks, tokens: int) -> tuple[int, Callable[[], list[int]]]:
        blocks = text.blocks[: -(-tokens // self._blocks.tokens)]
        return len(blocks) * self._blocks.block_bytes, lambda: self._blocks.share(blocks)

    def size(self, tokens: Sequence[int]) -> int:
        blocks = sum(-(-count // self._blocks.tokens) for count in tokens)
        return blocks * int(self._blocks.block_bytes)


def on_processor(options: EngineOptions, name: str) -> torch.dtype:
    """The number format to compute with. Raises BaseModelError where another device is asked for."""
    device, precision = choose_hardware(options.device, options.precision)
    if device != "cpu":
        raise BaseModelError(f"The {name} engine computes on the processor. Start with --device cpu.")
    made: torch.dtype = getattr(torch, precision)
    return made
