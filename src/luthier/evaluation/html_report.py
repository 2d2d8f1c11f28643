"""A report as one self-contained HTML page: inline styles and SVG plots, no scripts, no external resources."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

from luthier.evaluation.metric_catalog import METRICS, format_value, is_improvement, metric_name
from luthier.evaluation.report import Report
from luthier.language import Language, say

_PLOTTED_CALL_METRICS = ["call_exact", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"]
_PLOTTED_TEXT_METRICS = ["exact_match", "macro_f1", "chrf", "rouge_l"]


def render_html(report: Report, language: Language | None = None) -> str:
    names = [name for name in METRICS if any(name in run.metrics for run in report.runs)]

    def words(en: str, zh: str) -> str:
        return say(en, zh, language)

    return _template().render(
        report=report,
        advice=report.advice(language),
        saving=report.saving_sentence(language),
        curve=_loss_curve(report.losses),
        names=names,
        plotted=[name for name in _PLOTTED_CALL_METRICS + _PLOTTED_TEXT_METRICS if name in names],
        title_of=lambda name: metric_name(name, language),
        format_value=format_value,
        is_improvement=is_improvement,
        unit_of=lambda name: " %" if METRICS[name].unit == "share" else "",
        words=words,
        lang=words("en", "zh-CN"),
    )


def _loss_curve(losses: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """(x, y, epoch, loss) of each point, with x and y from 0 to 1, y downwards; empty for fewer than two points."""
    if len(losses) < 2:
        return []
    first, last = losses[0][0], losses[-1][0]
    top, bottom = max(loss for _, loss in losses), min(loss for _, loss in losses)
    width, height = (last - first) or 1, (top - bottom) or 1
    return [((epoch - first) / width, (top - loss) / height, epoch, loss) for epoch, loss in losses]


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("luthier.evaluation"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["answer"] = _format_answer
    return environment.get_template("report.html.jinja")


def _format_answer(value: Any) -> str:
    """An answer for display: tool calls as name(arguments), text unchanged, a dash for none."""
    if isinstance(value, list):
        return "\n".join(f"{call['name']}({_arguments(call['arguments'])})" for call in value)
    return "–" if value in (None, "") else str(value)


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
