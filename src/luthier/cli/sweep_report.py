"""The results of a sweep: ranking, table, loss curves, and SVG chart."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator
from typing import Any

from rich.text import Text

from luthier.cli.output import print_table, stdout_console
from luthier.cli.plot import curve_plot
from luthier.cli.progress_texts import status_text
from luthier.cli.svg_chart import Series, line_chart
from luthier.language import say

_SHORT = {"learning_rate_multiplier": "lr_multiplier", "n_epochs": "epochs"}  # column titles


def ranked(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results, successful jobs first, then by highest score (if any), then by lowest validation loss."""

    def key(result: dict[str, Any]) -> tuple[bool, float, bool, float]:
        loss, score = result["valid_loss"], result.get("score")
        return result["status"] != "succeeded", -(score or 0.0), loss is None, loss or 0.0

    return sorted(results, key=key)


def svg_plot(results: list[dict[str, Any]]) -> str:
    """A chart of the validation loss by step as an SVG document, with one line per result in the given order."""
    series = [
        Series(", ".join(f"{name} {value}" for name, value in result["hyperparameters"].items()), result["curve"])
        for result in results
    ]
    return line_chart(
        say("Validation loss by step", "各步的验证损失"), say("step", "步"), say("validation loss", "验证损失"), series
    )


def print_ranking(ranked: list[dict[str, Any]], metric: str | None) -> None:
    """Prints a legend of the models, the ranked results as a table, and their loss curves.

    `metric` is the metric of the score; None without one.
    """
    names = list(ranked[0]["hyperparameters"])
    letters = list(itertools.islice(_letters(), len(ranked)))
    for letter, result in zip(letters, ranked, strict=True):
        stdout_console().print(Text(f"{letter}  {result['fine_tuned_model'] or result['job']}"), soft_wrap=True)
    stdout_console().print()
    score_columns = [_score_title(metric)] if metric else []
    columns = (
        "",
        *(_SHORT.get(name, name) for name in names),
        say("status", "状态"),
        *score_columns,
        say("validation loss", "验证损失"),
    )
    rows = [_ranking_row(letter, result, bool(metric)) for letter, result in zip(letters, ranked, strict=True)]
    print_table(columns, rows)
    plot = curve_plot([(letter, result["curve"]) for letter, result in zip(letters, ranked, strict=True)])
    if plot:
        stdout_console().print("\n" + plot, highlight=False, markup=False, soft_wrap=True)


def _ranking_row(letter: str, result: dict[str, Any], scored: bool) -> list[str]:
    loss, score = result["valid_loss"], result.get("score")
    scores = ["–" if score is None else f"{100 * score:.1f} %"] if scored else []
    values = map(str, result["hyperparameters"].values())
    return [letter, *values, status_text(result["status"]), *scores, "–" if loss is None else f"{loss:.4f}"]


def _score_title(metric: str) -> str:
    from luthier.evaluation.metric_catalog import metric_name

    return metric_name(metric)


def _letters() -> Iterator[str]:
    return itertools.cycle(string.ascii_lowercase)
