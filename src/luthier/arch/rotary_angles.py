"""The angles of rotary position embeddings, for each kind of layer, as transformers computes them."""

from threading import Lock
from typing import Any, NamedTuple

import torch

from luthier.arch.decoder import DecoderSpec


class Angles(NamedTuple):
    """`cos` and `sin` [T, 1, R / 2], where R elements of a head are rotated, the first ones."""

    cos: torch.Tensor
    sin: torch.Tensor


class RotaryAngles:
    def __init__(self, rotary: Any, spec: DecoderSpec, dtype: torch.dtype) -> None:
        """`rotary`: the rotary module of the model."""
        self._rotary, self._dtype, self._short_tokens = rotary, dtype, spec.rotary.short_tokens
        self._lock = Lock()  # LongRoPE's module sets its frequencies by the positions, and then computes with them
        if getattr(rotary, "rope_type", None) == "dynamic":  # no scaling within the context: transformers need not look
            rotary.rope_type = "default"
        per_type = hasattr(rotary, "layer_types")
        types = [("sliding_attention" if window else "full_attention") if per_type else "" for window in spec.windows]
        self._width = int(spec.head_dim * spec.rotary.partial_factor)
        self._types = [name if rotated else None for name, rotated in zip(types, spec.rope_layers, strict=True)]
        self._once = self._distinct(types[0]) if any(spec.rope_layers) else slice(None)

    def _distinct(self, layer_type: str) -> slice:
        """Each angle stands twice, side by side or in the second half as in the first; or once, as with gpt-oss."""
        cos, _ = self._computed(torch.arange(2, device=next(self._rotary.buffers()).device), layer_type)
        half = cos.shape[-1] // 2
        if 2 * cos.shape[-1] == self._width:
            return slice(None)
        return slice(half) if torch.equal(cos[..., :half], cos[..., half:]) else slice(None, None, 2)

    def at(self, positions: torch.Tensor, is_long: torch.Tensor | None = None) -> list[Angles | None]:
        """The angles of each layer at positions int [T]; None for layers that rotate nothing.

        `is_long` bool [T], for LongRoPE: whether the token's sequence is longer than `short_tokens`. Without it, all
        tokens are of sequences as long as the longest one.
        """
        angles = {name: self._angles(positions, is_long, name) for name in self._types if name is not None}
        return [None if name is None else angles[name] for name in self._types]

    def _angles(self, positions: torch.Tensor, is_long: torch.Tensor | None, layer_type: str) -> Angles:
        computed = self._computed(positions, layer_type) if is_long is None else self._both(positions, is_long)
        cos, sin = (part[0, :, None, self._once].contiguous() for part in computed)
        return Angles(cos, sin)

    def _both(self, positions: torch.Tensor, is_long: torch.Tensor) -> list[torch.Tensor]:
        """cos and sin [1, T, R] of short and long sequences; transformers goes by the last of the positions."""
        last = positions.new_full((1,), self._short_tokens or 0)
        long = self._computed(torch.cat([positions, last]), "")
        short = self._computed(positions.masked_fill(is_long, 0), "")
        pairs = zip(long, short, strict=True)
        return [torch.where(is_long[:, None], of_long[:, :-1], of_short) for of_long, of_short in pairs]

    def _computed(self, positions: torch.Tensor, layer_type: str) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [1, T, R]."""
        like = torch.empty(0, dtype=self._dtype, device=positions.device)
        with self._lock:
            cos, sin = self._rotary(like, positions[None], *([layer_type] if layer_type else []))
        return cos.to(self._dtype), sin.to(self._dtype)
