"""Cosines and sines of rotary position embeddings (Su et al., 2021), computed when positions are first used."""

import math

import numpy as np

from luthier.arch import DecoderSpec

_INITIAL_POSITIONS = 1024


class RotaryTable:
    def __init__(self, spec: DecoderSpec) -> None:
        self._frequencies = _frequencies(spec)
        self._table = np.empty((2, 0, spec.head_dim), np.float32)

    def lookup(self, positions: int) -> np.ndarray:
        """[2, P, K], cosines and sines, of at least this many positions; the second half of K repeats the first."""
        if self._table.shape[1] < positions:
            places = np.arange(max(_INITIAL_POSITIONS, 2 * positions), dtype=np.float32)
            angles = np.tile(places[:, None] * self._frequencies, 2)
            self._table = np.stack([np.cos(angles), np.sin(angles)])
        return self._table


def _frequencies(spec: DecoderSpec) -> np.ndarray:
    """float32 [K / 2], as transformers computes them: plain, or scaled linearly or as Llama 3.1 does."""
    rotary, parameters = spec.rotary, spec.rotary.parameters
    exponents = np.arange(0, spec.head_dim, 2, dtype=np.float32) / np.float32(spec.head_dim)
    plain = np.float32(1) / np.float32(rotary.theta) ** exponents
    if rotary.kind == "default":
        return plain
    scaled = plain / np.float32(parameters["factor"])
    if rotary.kind == "linear":
        return scaled
    trained, low, high = (
        float(parameters[name]) for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    turns = np.float32(trained) / (np.float32(2 * math.pi) / plain)  # of each frequency in the context of pretraining
    share = (turns - np.float32(low)) / np.float32(high - low)
    return np.where(turns < low, scaled, np.where(turns > high, plain, (1 - share) * scaled + share * plain))
