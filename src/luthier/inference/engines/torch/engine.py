"""The engine on PyTorch: all answers under way take their next token in one pass, each with its own adapter and place.

A piece of a prompt is a pass of its own. Each text lies in a row, answers under way in the first rows of one block.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from luthier.hardware import choose as choose_hardware
from luthier.inference.engines.torch.cache import Rows
from luthier.inference.engines.torch.llama import Llama
from luthier.inference.memory.lora_slots import Adapters, Chosen
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.scheduler import KEPT_BYTES, Piece, Rounds, Text


class _Row(Text):
    def __init__(self, slot: int | None, rows: Rows, row: int) -> None:
        super().__init__(slot)
        self.rows, self.row = rows, row


class BatchedEngine(Rounds[_Row, torch.Tensor]):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        device, precision = choose_hardware(options.device, options.precision)
        self._model = Llama(base, torch.device(device), getattr(torch, precision))
        self.adapters = Adapters(self._model, options.adapters_in_memory)
        super().__init__(base, options, self._model.context_tokens, self.adapters)
        self._rows = Rows(self._model)
        self._under_way: list[_Row] = []  # by row
        self.start()

    def forward(self, pieces: Sequence[Piece[_Row]], hidden: bool) -> torch.Tensor:
        going_on = [piece for piece in pieces if piece.text.going_on]
        made = {piece.text: state[None] for piece, state in zip(going_on, self._go_on(going_on), strict=True)}
        for piece in pieces:
            if not piece.text.going_on:
                made[piece.text] = self._read(piece)
        states = torch.cat([made[piece.text][len(piece.ids) - piece.asked :] for piece in pieces])
        return states if hidden else self._model.logits(states)

    def opened(self, slot: int | None, known: tuple[torch.Tensor, int] | None, tokens: int, alone: bool) -> _Row:
        text = _Row(slot, Rows(self._model), 0) if alone else _Row(slot, self._rows, len(self._under_way))
        text.rows.reserve(text.row + 1, tokens + 1)
        if known:
            text.rows.write(text.row, *known)
        if not alone:
            self._under_way.append(text)
        return text

    def closed(self, text: _Row) -> None:
        """The last row takes the place of the one that goes."""
        if text.rows is not self._rows:
            return
        last = self._under_way.pop()
        if last is not text:
            self._rows.move(last.row, text.row, len(last.ids))
            last.row = text.row
            self._under_way[text.row] = last
        if not self._under_way and self._rows.data.nbytes > KEPT_BYTES:
            self._rows = Rows(self._model)

    def held(self, text: _Row, tokens: int) -> tuple[int, Callable[[], torch.Tensor]]:
        return tokens * self._rows.token_bytes, lambda: text.rows.read(text.row, tokens)

    def size(self, tokens: Sequence[int]) -> int:
        """Rows are as long as the longest text may become."""
        return len(tokens) * max(tokens) * int(self._rows.token_bytes)

    def _read(self, piece: Piece[_Row]) -> torch.Tensor:
        """The hidden states [T, D] of a piece of one text."""
        text, start, device = piece.text, len(piece.text.ids), self._model.device
        at = torch.arange(start, start + len(piece.ids), device=device)
        attend = text.rows.reading(text.row, start, len(piece.ids))
        return self._model.hidden(
            torch.tensor(piece.ids, device=device), at, attend, Chosen(self.adapters, [text.slot])
        )

    def _go_on(self, pieces: Sequence[Piece[_Row]]) -> torch.Tensor:
        """The hidden states [T, D] of one token for each; rows whose turn it is not are computed with them in vain."""
        if not pieces:
            return torch.empty(0, 0)
        ids = {piece.text.row: piece.ids[0] for piece in pieces}
        texts = self._under_way[: max(ids) + 1]
        places = [min(len(text.ids), self.context_tokens - 1) for text in texts]
        self._rows.reserve(len(texts), max(places) + 1)
        hidden = self._model.hidden(
            torch.tensor([ids.get(row, 0) for row in range(len(texts))], device=self._model.device),
            torch.tensor(places, device=self._model.device),
            self._rows.going_on(places),
            Chosen(self.adapters, [text.slot for text in texts]),
        )
        return hidden[list(ids)]
