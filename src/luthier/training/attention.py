"""Attention for packed rows: many examples in one row of tokens, each attending only to itself.

Registered with transformers under a name of its own, so that every architecture that uses the common attention
interface trains packed. Inside, the examples are laid side by side as one padded batch; with causal attention a
token never sees what comes after it, so padding at the end needs no mask at all.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

from luthier.types.errors import LuthierError

NAME = "luthier_packed"
# On processors, attention over short examples runs backward about three times faster in float32 than in bfloat16.
_FLOAT32_UP_TO = 256


class Layout:
    """Where each example of a packed row lies. N examples, L the longest, T tokens in all.

    `take` int [N * L]: the token of the row at each place of the padded batch (padding repeats token 0).
    `put` int [T]: the place of each token in the padded batch.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.count, self.longest = len(lengths), max(lengths)
        places = [torch.arange(length) + index * self.longest for index, length in enumerate(lengths)]
        put = torch.cat(places)
        take = torch.zeros(self.count * self.longest, dtype=torch.long)
        take[put] = torch.arange(len(put))
        self.take, self.put = take.to(device), put.to(device)
        self.positions = torch.cat([torch.arange(length) for length in lengths]).to(device)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    layout: Layout,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """query [1, H, T, K], key and value [1, G, T, K] (G groups of heads) -> [1, T, H, K].

    Raises LuthierError for what an architecture asks beyond that: leaving it out would train another model.
    """
    if softcap is not None or s_aux is not None or (sliding_window and sliding_window < layout.longest):
        what = "soft caps" if softcap is not None else "attention sinks" if s_aux is not None else "a sliding window"
        raise LuthierError(f"This base model's attention has {what}, which training does not know yet.")

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        _, heads, _, width = tensor.shape
        rows = tensor[0].transpose(0, 1).index_select(0, layout.take)
        return rows.view(layout.count, layout.longest, heads, width).transpose(1, 2)

    q, k, v = unpack(query), unpack(key), unpack(value)
    if query.device.type == "cpu" and layout.longest <= _FLOAT32_UP_TO:
        q, k, v = q.float(), k.float(), v.float()
    with torch.autocast(query.device.type, enabled=False):
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
    heads, width = mixed.shape[1], mixed.shape[3]
    flat = mixed.to(query.dtype).transpose(1, 2).reshape(layout.count * layout.longest, heads, width)
    return flat.index_select(0, layout.put).unsqueeze(0), None


AttentionInterface.register(NAME, packed_attention)
