"""Cosines and sines of rotary position embeddings, computed when positions are first reached."""

from typing import Any

import torch

_INITIAL_POSITIONS = 1024


class RotaryTable:
    def __init__(self, model: Any) -> None:
        """`model`: a causal model of transformers, whose rotary module computes the table."""
        self._rotary = model.model.rotary_emb
        self._table = torch.empty(2, 0, 0, dtype=torch.float32)

    def lookup(self, positions: int) -> torch.Tensor:
        """[2, P, K], cosines and sines, of at least this many positions."""
        if self._table.shape[1] < positions:
            ids = torch.arange(max(_INITIAL_POSITIONS, 2 * positions))[None]
            self._table = torch.cat(self._rotary(torch.zeros(1, dtype=torch.float32), ids))
        return self._table
