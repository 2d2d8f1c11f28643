"""The report of `luthier evaluate` on a terminal: metrics table, prompt tokens saved, advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from luthier.cli.output import print_table, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.evaluation.model_run import ModelRun
    from luthier.evaluation.report import Report

_LOSSES = ("full_valid_loss", "full_valid_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
_COLUMNS = {
    "functions": ("call_exact", "call_match", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"),
    "text": ("exact_match", "macro_f1", "chrf", "rouge_l", "preamble_rate", "truncation_rate", "repetition_rate"),
}


def print_report_card(report: Report) -> None:
    """Prints the report to stdout."""
    from luthier.evaluation.metric_catalog import metric_name

    names = [name for name in (*_COLUMNS[report.kind], *_LOSSES) if any(name in run.metrics for run in report.runs)]
    functions = report.kind == "functions"
    labels = [say("model", "模型"), *([say("definitions", "工具定义")] if functions else [])]
    columns = [*labels, *map(metric_name, names), say("prompt tokens", "提示 token"), say("seconds", "秒")]
    print_table(columns, [_row(run, names, functions) for run in report.runs])
    stdout_console().print(
        say(
            f"\nPercentages with 95 % confidence intervals, n = {report.examples} examples of {report.file}",
            f"\n百分比及 95% 置信区间，n = {report.examples}，样本来自 {report.file}",
        )
    )
    for name, reason in {key: reason for run in report.runs for key, reason in run.not_available.items()}.items():
        stdout_console().print(say(f"{name}: {reason}.", f"{name}：{reason}。"), soft_wrap=True)
    saving = report.saving_sentence()
    if saving:
        stdout_console().print(saving)
    for line in report.advice():
        stdout_console().print(f"• {line}", soft_wrap=True)


def _row(run: ModelRun, names: Sequence[str], functions: bool) -> list[str]:
    from luthier.evaluation.metric_catalog import format_value

    cells = [run.model, *([run.definitions] if functions else [])]
    for name in names:
        metric = run.metrics.get(name)
        if metric is None:
            cells.append("–")
            continue
        value, low, high = (
            format_value(name, value, digits=1 if name in _LOSSES else 0)
            for value in (metric.value, metric.low, metric.high)
        )
        cells.append(f"{value} [{low}–{high}]")
    return [*cells, f"{run.efficiency['prompt_tokens_mean']:.0f}", f"{run.efficiency['latency_s_p50']:.2f}"]
