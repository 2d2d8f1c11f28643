"""Draws loss curves with block characters, for terminals and logs."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

BLOCKS = " ▁▂▃▄▅▆▇█"
VALIDATION_MARK = "●"


class Point(NamedTuple):
    """The losses after a step; None where they were not measured."""

    step: int
    train_loss: float | None
    valid_loss: float | None


def loss_plot(points: Sequence[Point], width: int = 64, height: int = 12) -> str:
    """A plot with the training loss as bars, each the mean of several steps, and the validation loss as dots.

    `points` are ordered by step. Returns `height` + 2 lines, or an empty string without losses.
    """
    groups = _groups(points, width)
    train = [_mean(point.train_loss for point in group) for group in groups]
    valid = [_mean(point.valid_loss for point in group) for group in groups]
    top = max((value for value in [*train, *valid] if value is not None), default=0.0)
    if top <= 0:
        return ""
    repeat = max(1, width // len(groups))
    lines = [_row(train, valid, top, level, height, repeat) for level in reversed(range(height))]
    labels = {0: f"{top:.2f}", height // 2: f"{top * (height - height // 2) / height:.2f}"}
    rows = [f"{labels.get(row, ''):>8} │{line}" for row, line in enumerate(lines)]
    first, last = str(points[0].step), str(points[-1].step)
    span = len(groups) * repeat
    return "\n".join([*rows, f"{'0.00':>8} └{'─' * span}", f"{'':>10}{first}{last:>{max(1, span - len(first))}}"])


def _groups(points: Sequence[Point], width: int) -> list[Sequence[Point]]:
    """The points in at most `width` non-empty groups of consecutive points and nearly equal size."""
    count = min(width, len(points))
    edges = [round(index * len(points) / count) for index in range(count + 1)] if count else [0]
    return [points[start:end] for start, end in pairwise(edges)]


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None


def _row(train: list[float | None], valid: list[float | None], top: float, level: int, height: int, repeat: int) -> str:
    """A row of the plot; `level` counts rows from the bottom."""
    cells = []
    for bar, dot in zip(train, valid, strict=True):
        eighths = round(((bar or 0.0) / top * height - level) * 8)
        cell = BLOCKS[min(8, max(0, eighths))] * repeat
        if dot is not None and min(height - 1, int(dot / top * height)) == level:
            cell = VALIDATION_MARK + cell[1:]
        cells.append(cell)
    return "".join(cells).rstrip()


def curve_plot(series: Sequence[tuple[str, Sequence[tuple[int, float]]]], width: int = 64, height: int = 12) -> str:
    """A plot of curves of (step, loss), each drawn with its letter; where they overlap, the first one is visible.

    Returns `height` + 2 lines, or an empty string without points.
    """
    points = [point for _, curve in series for point in curve]
    if not points:
        return ""
    last = max(step for step, _ in points)
    low, high = (limit(loss for _, loss in points) for limit in (min, max))
    cells = [[" "] * width for _ in range(height)]
    for letter, curve in reversed(series):
        for step, loss in curve:
            row = round((high - loss) / max(high - low, 1e-9) * (height - 1))
            cells[row][round(step / last * (width - 1))] = letter
    labels = {0: f"{high:.3f}", height - 1: f"{low:.3f}"}
    rows = [f"{labels.get(row, ''):>8} │{''.join(line).rstrip()}" for row, line in enumerate(cells)]
    return "\n".join([*rows, f"{'':>8} └{'─' * width}", f"{'':>10}0{last:>{width - 1}}"])
