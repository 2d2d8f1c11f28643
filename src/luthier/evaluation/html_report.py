"""A report as one HTML page that needs nothing else: styles and plots are inside, no script, no address outside."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

from luthier.evaluation.metric_catalog import FIGURES, figure_name, is_better, number
from luthier.evaluation.report import Report
from luthier.language import Language, say

_CALLS_PLOTTED = ["call_exact", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"]
_TEXTS_PLOTTED = ["exact_match", "macro_f1", "chrf", "rouge_l"]


def page(report: Report, language: Language | None = None) -> str:
    """The HTML text."""
    names = [name for name in FIGURES if any(name in run.figures for run in report.runs)]

    def words(en: str, zh: str) -> str:
        return say(en, zh, language)

    return _template().render(
        report=report,
        advice=report.advice(language),
        saving=report.saving_in_words(language),
        curve=_curve(report.losses),
        names=names,
        plotted=[name for name in _CALLS_PLOTTED + _TEXTS_PLOTTED if name in names],
        title_of=lambda name: figure_name(name, language),
        number=number,
        is_better=is_better,
        unit_of=lambda name: " %" if FIGURES[name].unit == "share" else "",
        words=words,
        lang=words("en", "zh-CN"),
    )


def _curve(losses: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """(x, y, epoch, loss) of each point, x and y from 0 to 1; empty where there is no line to draw."""
    if len(losses) < 2:
        return []
    first, last = losses[0][0], losses[-1][0]
    top, bottom = max(loss for _, loss in losses), min(loss for _, loss in losses)
    across, down = (last - first) or 1, (top - bottom) or 1
    return [((epoch - first) / across, (top - loss) / down, epoch, loss) for epoch, loss in losses]


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("luthier.evaluation"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["shown"] = _shown
    return environment.get_template("report.html.jinja")


def _shown(value: Any) -> str:
    """Calls as name(arguments), text as it is."""
    if isinstance(value, list):
        return "\n".join(f"{call['name']}({_arguments(call['arguments'])})" for call in value)
    return "–" if value in (None, "") else str(value)


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
