"""Keys and values of answers under way, a row each.

Rows in use are always the first ones, so that a pass over several answers takes them as they lie. Knows nothing
about layers' weights or tokens' meaning.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from luthier.inference.engines.torch.llama import Attend, Llama

_BLOCK = 256  # places a row grows by at the least
# Attention looks at a multiple of so many places, the ones not reached yet barred: their number must not decide how
# its sums are taken together, or an answer would be rounded otherwise in a batch than alone.
_WHOLE = 16


class Rows:
    """`data` [layers, 2, S, G, L, K]: S rows of L places, keys and values."""

    def __init__(self, model: Llama) -> None:
        self._model = model
        self._scale = model.width**-0.5
        self.token_bytes = len(model.layers) * 2 * model.groups * model.width * model.dtype.itemsize
        self.data = self._new(0, 0)

    def reserve(self, rows: int, places: int) -> None:
        """Room for so many rows, each of so many places; what is there stays."""
        have_rows, have_places = self.data.shape[2], self.data.shape[4]
        if rows <= have_rows and places <= have_places:
            return
        if places > have_places:
            places = min(max(_up(places, _BLOCK), 2 * have_places), _up(self._model.context_tokens, _WHOLE))
        old = self.data
        self.data = self._new(max(rows, have_rows), max(places, have_places))
        self.data[:, :, :have_rows, :, :have_places] = old

    def move(self, source: int, target: int, count: int) -> None:
        self.data[:, :, target, :, :count] = self.data[:, :, source, :, :count]

    def read(self, row: int, count: int) -> torch.Tensor:
        """A copy of the first places [layers, 2, G, count, K]."""
        return self.data[:, :, row, :, :count].clone()

    def write(self, row: int, kept: torch.Tensor, count: int) -> None:
        self.data[:, :, row, :, :count] = kept[:, :, :, :count]

    def reading(self, row: int, start: int, count: int) -> Attend:
        """For `count` tokens of one text that begin at place `start` of its row."""
        model, end = self._model, start + count
        seen, each = _up(end, _WHOLE), model.heads // model.groups
        # Of the model's own format: a mask of truth values would be turned into one anew for every layer.
        barred = torch.full((count, seen), -torch.inf, dtype=model.dtype, device=model.device).triu(start + 1)
        mask = barred.repeat(each, 1)[None, None]

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self.data[layer, 0, row], self.data[layer, 1, row]
            keys[:, start:end], values[:, start:end] = k.transpose(0, 1), v.transpose(0, 1)
            asked = q.view(count, model.groups, each, model.width).permute(1, 2, 0, 3)
            made = functional.scaled_dot_product_attention(
                asked.reshape(1, model.groups, each * count, model.width),
                keys[None, :, :seen],
                values[None, :, :seen],
                attn_mask=mask,
                scale=self._scale,
            )
            return made.view(model.groups * each, count, model.width).transpose(0, 1).reshape(count, -1)

        return attend

    def going_on(self, places: Sequence[int]) -> Attend:
        """For one token of each of the first rows; `places`: where they stand."""
        model, count, seen = self._model, len(places), _up(max(places) + 1, _WHOLE)
        rows = torch.arange(count, device=model.device)
        at = torch.tensor(places, device=model.device)
        barred = torch.arange(seen, device=model.device) > at[:, None]
        mask = torch.zeros(barred.shape, dtype=model.dtype, device=model.device).masked_fill_(barred, -torch.inf)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self.data[layer, 0], self.data[layer, 1]
            keys[rows, :, at], values[rows, :, at] = k, v
            made = functional.scaled_dot_product_attention(
                q.reshape(count, model.groups, -1, model.width),
                keys[:count, :, :seen],
                values[:count, :, :seen],
                attn_mask=mask[:, None, None],
                scale=self._scale,
            )
            return made.reshape(count, -1)

        return attend

    def _new(self, rows: int, places: int) -> torch.Tensor:
        model = self._model
        shape = (len(model.layers), 2, rows, model.groups, places, model.width)
        return torch.zeros(shape, dtype=model.dtype, device=model.device)


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
