"""The openvino engine: tokens of many answers, and pieces of prompts, in one pass through a compiled graph.

Texts that begin alike share the blocks where their keys and values lie.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from luthier.hardware import choose as choose_hardware
from luthier.inference.compiled.blocks import TOKENS
from luthier.inference.compiled.model import Compiled, Part
from luthier.inference.pool import EngineOptions
from luthier.inference.rounds import KEPT_BYTES, MOST_ANSWERS, Piece, Rounds, Text
from luthier.types.errors import BaseModelError


class _Blocks(Text):
    def __init__(self, slot: int | None, blocks: list[int]) -> None:
        super().__init__(slot)
        self.blocks = blocks


class OpenVINOEngine(Rounds[_Blocks, list[int]]):
    prompts_together = MOST_ANSWERS

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        device, precision = choose_hardware(options.device, options.precision)
        if device != "cpu":
            raise BaseModelError("The openvino engine computes on the processor. Start with --device cpu.")
        self._model = Compiled(base, getattr(torch, precision))
        self._blocks = self._model.blocks
        super().__init__(base, options, self._model, self._blocks.release)
        self.start()

    def forward(self, pieces: Sequence[Piece[_Blocks]], hidden: bool) -> torch.Tensor:
        parts = []
        for piece in pieces:
            text, past = piece.text, len(piece.text.ids)
            self._blocks.extended(text.blocks, past + len(piece.ids))
            parts.append(Part(piece.ids, past, text.blocks, text.slot, piece.asked))
        return self._model.run(parts, self.adapters, hidden=hidden)

    def opened(self, slot: int | None, known: tuple[list[int], int] | None, tokens: int, alone: bool) -> _Blocks:
        text = _Blocks(slot, [])
        if known:
            blocks, (whole, rest) = known[0], divmod(known[1], TOKENS)
            text.blocks = self._blocks.share(blocks[:whole]) + ([self._blocks.copy(blocks[whole])] if rest else [])
        return text

    def closed(self, text: _Blocks) -> None:
        self._blocks.release(text.blocks)
        self._blocks.forget(KEPT_BYTES)

    def held(self, text: _Blocks, tokens: int) -> tuple[int, Callable[[], list[int]]]:
        blocks = text.blocks[: -(-tokens // TOKENS)]
        return len(blocks) * self._blocks.block_bytes, lambda: self._blocks.share(blocks)

    def size(self, tokens: Sequence[int]) -> int:
        blocks = sum(-(-count // TOKENS) for count in tokens)
        return blocks * int(self._blocks.block_bytes)
