"""The learning-rate schedule: linear warm-up, then a half cosine down to a tenth of the peak."""

import math

_WARM_UP_FRACTION, _MIN_WARM_UP_STEPS = 0.05, 5
_FINAL_FACTOR = 0.1


def learning_rate_factor(step: int, total_steps: int) -> float:
    """The learning rate at `step` (from 1) as a fraction of the peak."""
    warm_up = min(max(_MIN_WARM_UP_STEPS, round(total_steps * _WARM_UP_FRACTION)), max(total_steps // 2, 1))
    if step <= warm_up:
        return step / warm_up
    decay = (step - warm_up) / max(total_steps - warm_up, 1)
    return _FINAL_FACTOR + (1 - _FINAL_FACTOR) * (1 + math.cos(math.pi * decay)) / 2
