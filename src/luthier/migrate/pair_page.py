"""The texts and the HTML page of a report that compares old models with their successors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from luthier.evaluation.metric_catalog import METRICS, format_value, is_improvement, metric_name
from luthier.evaluation.statistics import Difference
from luthier.language import Language, say
from luthier.migrate.pair_report import PairReport, Usage

if TYPE_CHECKING:
    import jinja2

Row = tuple[str, str, str, str]  # metric, old value, new value, difference with its interval


def metric_rows(pair: PairReport, mode: str, language: Language | None = None) -> list[Row]:
    """A row for each metric that both models have; differences are given with their paired 95 % interval."""
    old, new = pair.run(pair.old, mode), pair.run(pair.new, mode)
    differences = {entry.metric: entry.difference for entry in pair.comparisons if entry.first[1] == mode}
    return [
        (
            metric_name(name, language) + (" (%)" if METRICS[name].unit == "share" else ""),
            format_value(name, old.metrics[name].value),
            format_value(name, new.metrics[name].value),
            _difference_text(name, differences[name], language) if name in differences else "",
        )
        for name in METRICS
        if name in old.metrics and name in new.metrics
    ]


def usage_rows(pair: PairReport, language: Language | None = None) -> list[Row]:
    """Rows for the tokens, latency and cost of both models."""
    titles = (
        say("prompt tokens per answer", "每个回答的提示 token", language),
        say("answer tokens per answer", "每个回答的输出 token", language),
        say("latency, median", "延迟（中位数）", language),
        say("cost of 1,000 answers", "1,000 个回答的费用", language),
    )
    columns = [_usage_texts(usage) for usage in (pair.old_usage, pair.new_usage)]
    return [(title, old, new, "") for title, old, new in zip(titles, *columns, strict=True)]


def same_text(pair: PairReport, language: Language | None = None) -> str:
    share = f"{100 * pair.same.value:.0f} % ({100 * pair.same.low:.0f}–{100 * pair.same.high:.0f} %)"
    return say(f"Equal answers: {share} of {pair.same.n}", f"回答相同：{pair.same.n} 个中的 {share}", language)


def judged_text(pair: PairReport, language: Language | None = None) -> str:
    """The judge's verdicts in a sentence; empty without a judge."""
    judged = pair.judged
    if judged is None:
        return ""
    n = judged.difference.n
    values = [100 * value for value in (judged.difference.value, judged.difference.low, judged.difference.high)]
    points = f"{values[0]:+.0f} ({values[1]:+.0f} … {values[2]:+.0f})"
    uncertainty = "" if judged.difference.significant else say(", not certain", "，不能确定", language)
    text = say(
        f"{judged.judge} as the judge, of {n} questions: the new answer is better in {judged.new_better}, the old one "
        f"in {judged.old_better}; difference {points} points{uncertainty}.",
        f"{judged.judge} 评审 {n} 个问题：新回答更好 {judged.new_better} 个，旧回答更好 {judged.old_better} 个；"
        f"相差 {points} 个百分点{uncertainty}。",
        language,
    )
    if judged.swayed or judged.unread:
        text += say(
            f" Counted as equal: {judged.swayed} where its verdict depended on the order of the answers, "
            f"{judged.unread} where it gave none.",
            f"按相同计：{judged.swayed} 个的结论随两个回答的次序而变，{judged.unread} 个没有结论。",
            language,
        )
    return text


def mode_name(pair: PairReport, mode: str, language: Language | None = None) -> str:
    """Whether requests contain function definitions, as a title; empty if the answers are texts."""
    if pair.report.kind != "functions":
        return ""
    if mode == "none":
        return say("without definitions", "不带函数定义", language)
    return say("with definitions", "带函数定义", language)


def render_html(pairs: Sequence[PairReport], language: Language | None = None) -> str:
    """The reports as a self-contained HTML page, without scripts or external resources."""
    return _template().render(
        pairs=pairs,
        metric_rows=lambda pair, mode: metric_rows(pair, mode, language),
        usage_rows=lambda pair: usage_rows(pair, language),
        same_text=lambda pair: same_text(pair, language),
        judged_text=lambda pair: judged_text(pair, language),
        mode_name=lambda pair, mode: mode_name(pair, mode, language),
        words=lambda en, zh: say(en, zh, language),
        language=language,
        lang=say("en", "zh-CN", language),
    )


def _difference_text(name: str, difference: Difference, language: Language | None) -> str:
    values = [format_value(name, value, sign=True) for value in (difference.value, difference.low, difference.high)]
    text = f"{values[0]} ({values[1]} … {values[2]})"
    if not difference.significant:
        return text
    better = is_improvement(name, difference.value)
    return f"{text} {say('better', '更好', language) if better else say('worse', '更差', language)}"


def _usage_texts(usage: Usage) -> tuple[str, str, str, str]:
    latency = "–" if usage.latency_s is None else f"{usage.latency_s:.2f} s"
    cost = "–" if usage.usd_per_1000 is None else f"${usage.usd_per_1000:.2f}"
    return f"{usage.prompt_tokens:.0f}", f"{usage.completion_tokens:.0f}", latency, cost


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("luthier.migrate"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("pairs.html.jinja")
