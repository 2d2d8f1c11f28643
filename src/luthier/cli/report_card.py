"""Prints the report of `luthier evaluate`: a table of metrics, the saved prompt tokens, and advice.

Metrics are rows and models are columns with letters as titles, so that a report with real model names fits into 80
columns.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from luthier.cli.output import print_table, stdout_console, table_width, wrap_text
from luthier.language import say

if TYPE_CHECKING:
    from luthier.evaluation.model_run import ModelRun
    from luthier.evaluation.report import Report

_LOSSES = ("full_valid_loss", "full_valid_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
_METRICS = {
    "functions": ("call_exact", "call_match", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"),
    "text": ("exact_match", "macro_f1", "chrf", "rouge_l", "preamble_rate", "truncation_rate", "repetition_rate"),
}


def print_report_card(report: Report) -> None:
    """Prints the report to stdout."""
    from luthier.evaluation.metric_catalog import metric_name

    names = [name for name in (*_METRICS[report.kind], *_LOSSES) if any(name in run.metrics for run in report.runs)]
    titles = [*map(metric_name, names), say("prompt tokens", "提示 token"), say("seconds", "秒")]
    console = stdout_console()
    for letter, run in zip(_letters(report), report.runs, strict=True):
        mode = say(f"  definitions {run.definitions}", f"  函数定义 {run.definitions}")
        console.print(Text(f"{letter}  {run.model}{mode if report.kind == 'functions' else ''}"), soft_wrap=True)
    _print_metrics(titles, _letters(report), [_figures(run, names) for run in report.runs])
    console.print(
        say(
            f"\nPercentages with 95 % confidence intervals, n = {report.examples} examples of {report.file}",
            f"\n百分比及 95% 置信区间，n = {report.examples}，样本来自 {report.file}",
        ),
        soft_wrap=True,
    )
    for name, reason in {key: reason for run in report.runs for key, reason in run.not_available.items()}.items():
        title = metric_name(name)
        console.print(say(f"{title}: {reason}.", f"{title}：{reason}。"), soft_wrap=True)
    saving = report.saving_sentence()
    if saving:
        console.print(Text(wrap_text(saving, console.width)), soft_wrap=True)
    for line in report.advice():
        console.print(Text(wrap_text(f"• {line}", console.width, 2)), soft_wrap=True)


def _letters(report: Report) -> list[str]:
    """A letter for each run, or numbers if there are more runs than letters."""
    count = len(report.runs)
    return list(string.ascii_lowercase[:count]) if count <= 26 else list(map(str, range(1, count + 1)))


def _print_metrics(titles: Sequence[str], letters: Sequence[str], runs: Sequence[Sequence[str]]) -> None:
    """Prints one table, or several if not all columns fit into the terminal."""
    start = 0
    while start < len(runs):
        end = start + 1
        while end < len(runs) and _fits(titles, letters[start : end + 1], runs[start : end + 1]):
            end += 1
        stdout_console().print()
        print_table(("", *letters[start:end]), list(zip(titles, *runs[start:end], strict=True)))
        start = end


def _fits(titles: Sequence[str], letters: Sequence[str], runs: Sequence[Sequence[str]]) -> bool:
    return table_width(("", *letters), list(zip(titles, *runs, strict=True))) <= stdout_console().width


def _figures(run: ModelRun, names: Sequence[str]) -> list[str]:
    """The cells of a run: each metric with its interval, prompt tokens, and seconds."""
    figures = [_figure(run, name) for name in names]
    return [*figures, f"{run.efficiency['prompt_tokens_mean']:.0f}", f"{run.efficiency['latency_s_p50']:.2f}"]


def _figure(run: ModelRun, name: str) -> str:
    from luthier.evaluation.metric_catalog import format_value

    metric = run.metrics.get(name)
    if metric is None:
        return "–"
    numbers = (metric.value, metric.low, metric.high)
    value, low, high = (format_value(name, number, digits=1 if name in _LOSSES else 0) for number in numbers)
    return f"{value} [{low}–{high}]"
