"""Results of a sweep: ranking, table with a plot, and SVG plot."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator
from typing import Any

from luthier.cli.output import print_table, stdout_console
from luthier.cli.plot import curve_plot

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#7f7f7f")
_WIDTH, _HEIGHT = 720, 400


def ranked(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sorted: successful jobs first, then by highest score (if any), then by lowest validation loss."""

    def key(result: dict[str, Any]) -> tuple[bool, float, bool, float]:
        loss, score = result["valid_loss"], result.get("score")
        return result["status"] != "succeeded", -(score or 0.0), loss is None, loss or 0.0

    return sorted(results, key=key)


def svg_plot(results: list[dict[str, Any]]) -> str:
    """Validation loss by step as a standalone SVG, one line per result, the best first in the legend."""
    points = [point for result in results for point in result["curve"]]
    last = max((step for step, _ in points), default=1)
    low, high = (limit((loss for _, loss in points), default=0.0) for limit in (min, max))
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif">'
    ]
    for row, (result, colour) in enumerate(zip(results, itertools.cycle(_COLOURS), strict=False)):
        coordinates = [
            (50 + (_WIDTH - 300) * step / last, 20 + (_HEIGHT - 60) * (high - loss) / max(high - low, 1e-9))
            for step, loss in result["curve"]
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in coordinates)
        elements.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        elements += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in coordinates]
        label = ", ".join(f"{name} {value}" for name, value in result["hyperparameters"].items())
        elements.append(f'<text x="{_WIDTH - 235}" y="{30 + 18 * row}" font-size="11" fill="{colour}">{label}</text>')
    elements.append(f'<text x="4" y="24">{high:.3f}</text><text x="4" y="{_HEIGHT - 40}">{low:.3f}</text>')
    elements.append(f'<text x="50" y="{_HEIGHT - 10}">full_valid_loss / step (1-{last})</text></svg>')
    return "\n".join(elements) + "\n"


def print_ranking(ranked: list[dict[str, Any]], metric: str | None) -> None:
    """Prints the ranked results as a table with loss bars, and their loss curves; `metric` names the score."""
    names = list(ranked[0]["hyperparameters"])
    worst = max((result["valid_loss"] for result in ranked if result["valid_loss"] is not None), default=0.0)
    rows = []
    for letter, result in zip(_letters(), ranked, strict=False):
        loss, score = result["valid_loss"], result.get("score")
        loss_text = "—" if loss is None else f"{loss:.4f}"
        score_cells = ["—" if score is None else f"{100 * score:.1f} %"] if metric else []
        bar = "" if loss is None else "█" * max(1, round(24 * loss / max(worst, 1e-9)))
        values = (result["hyperparameters"][name] for name in names)
        model = result["fine_tuned_model"] or result["job"]
        rows.append((letter, model, *values, result["status"], *score_cells, loss_text, bar))
    score_columns = [metric] if metric else []
    print_table(("", "model", *names, "status", *score_columns, "valid_loss", ""), rows)
    plot = curve_plot([(letter, result["curve"]) for letter, result in zip(_letters(), ranked, strict=False)])
    if plot:
        stdout_console().print("\n" + plot, highlight=False, markup=False, soft_wrap=True)


def _letters() -> Iterator[str]:
    return itertools.cycle(string.ascii_lowercase)
