"""A report of `luthier evaluate` on a terminal: the table, what definitions cost, what the numbers say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from luthier.cli.output import print_table, results
from luthier.language import say

if TYPE_CHECKING:
    from luthier.evaluation.model_run import ModelRun
    from luthier.evaluation.report import Report

_LOSSES = ("full_valid_loss", "full_valid_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
_COLUMNS = {
    "functions": ("call_exact", "call_match", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"),
    "text": ("exact_match", "macro_f1", "chrf", "rouge_l", "preamble_rate", "truncation_rate", "repetition_rate"),
}


def show_report(report: Report) -> None:
    """On stdout."""
    from luthier.evaluation.metric_catalog import metric_name

    wanted = (*_COLUMNS[report.kind], *_LOSSES)
    names = [name for name in wanted if any(name in run.metrics for run in report.runs)]
    functions = report.kind == "functions"
    head = [say("model", "模型"), *([say("definitions", "函数定义")] if functions else [])]
    columns = [*head, *map(metric_name, names), say("prompt tokens", "提示词元"), say("seconds", "秒")]
    print_table(columns, [_row(run, names, functions) for run in report.runs])
    results().print(
        say(
            f"\nShares in % [95 % interval], n = {report.examples} examples of {report.file}",
            f"\n比例为 % [95% 区间]，n = {report.examples}，样本来自 {report.file}",
        )
    )
    for name, why in {key: why for run in report.runs for key, why in run.not_available.items()}.items():
        results().print(say(f"{name}: {why}.", f"{name}：{why}。"), soft_wrap=True)
    saving = report.saving_sentence()
    if saving:
        results().print(saving)
    for line in report.advice():
        results().print(f"• {line}", soft_wrap=True)


def _row(run: ModelRun, names: Sequence[str], functions: bool) -> list[str]:
    from luthier.evaluation.metric_catalog import format_value

    cells = [run.model, *([run.definitions] if functions else [])]
    for name in names:
        figure = run.metrics.get(name)
        if figure is None:
            cells.append("–")
            continue
        value, low, high = (
            format_value(name, value, digits=1 if name in _LOSSES else 0)
            for value in (figure.value, figure.low, figure.high)
        )
        cells.append(f"{value} [{low}–{high}]")
    return [*cells, f"{run.efficiency['prompt_tokens_mean']:.0f}", f"{run.efficiency['latency_s_p50']:.2f}"]
