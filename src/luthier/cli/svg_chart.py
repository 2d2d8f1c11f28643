"""Line charts as standalone SVG files, with a title, axes with ticks, and a legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#7f7f7f")
_WIDTH, _PLOT_HEIGHT, _LEGEND_ROW = 760, 340, 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 44, 52
_TICKS = 5


class Series(NamedTuple):
    """A named line through (x, y) points."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(title: str, x_title: str, y_title: str, series: Sequence[Series]) -> str:
    """A line chart as an SVG document; a series without points appears only in the legend.

    Later series are drawn on top of earlier ones with thinner lines, so that equal curves all stay visible.
    """
    points = [point for line in series for point in line.points]
    x_ticks = _ticks([x for x, _ in points], whole=True)
    y_ticks = _ticks([y for _, y in points])
    height = _TOP + _PLOT_HEIGHT + _BOTTOM + _LEGEND_ROW * len(series) + 8

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * across, _TOP + _PLOT_HEIGHT * (1 - up)

    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for y in y_ticks:
        left, level = place(x_ticks[0], y)
        elements.append(f'<path d="M{left:.1f} {level:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        elements.append(f'<text x="{left - 8:.1f}" y="{level + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    for x in x_ticks:
        across, bottom = place(x, y_ticks[0])
        elements.append(f'<path d="M{across:.1f} {bottom:.1f}v5" stroke="#222"/>')
        elements.append(f'<text x="{across:.1f}" y="{bottom + 19:.1f}" text-anchor="middle">{x:.4g}</text>')
    middle, base = _TOP + _PLOT_HEIGHT / 2, _TOP + _PLOT_HEIGHT
    elements += [
        f'<path d="M{_LEFT} {_TOP}V{base}H{_WIDTH - _RIGHT}" fill="none" stroke="#222"/>',
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{base + 40}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text x="18" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 18 {middle:.0f})">'
        f"{escape(y_title)}</text>",
    ]
    for row, (line, colour) in enumerate(zip(series, itertools.cycle(_COLOURS), strict=False)):
        elements += _line([place(x, y) for x, y in line.points], colour, max(1.5, 4.0 - row))
        y = base + _BOTTOM + _LEGEND_ROW * row
        elements.append(f'<rect x="{_LEFT}" y="{y}" width="14" height="10" fill="{colour}"/>')
        elements.append(f'<text x="{_LEFT + 22}" y="{y + 10}">{escape(line.name)}</text>')
    return "\n".join([*elements, "</svg>\n"])


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline fill="none" stroke="{colour}" stroke-width="{width:g}" points="{path}"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _ticks(values: Sequence[float], *, whole: bool = False) -> list[float]:
    """Round numbers for the ticks of an axis that covers `values`: about five, and at least two."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor * _TICKS >= span)
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, max(last, first + 1) + 1)]
