"""bfloat16 in NumPy, which has no such type: the bits of each number as uint16."""

import numpy as np


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 -> bfloat16, rounded to the nearest, ties to even; NaN stays NaN. bfloat16 is returned unchanged."""
    if values.dtype == np.uint16:
        return values
    bits = np.ascontiguousarray(values).view(np.uint32)
    halves = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    halves[np.isnan(values)] = 0x7FC0
    return halves


def widened(values: np.ndarray) -> np.ndarray:
    """bfloat16 -> float32, exactly. float32 is returned unchanged."""
    if values.dtype == np.float32:
        return values
    return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
