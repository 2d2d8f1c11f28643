"""A report as one HTML page that needs nothing else: styles and plots are inside, no script, no address outside."""

import json
from functools import cache
from typing import Any

import jinja2

from luthier.evaluation.report import Report
from luthier.language import Language, say

# Figures in the order of the page; a report shows those it has. The flag: whether less is better.
FIGURES: dict[str, tuple[str, str, bool]] = {
    "call_exact": ("call exact", "调用完全正确", False),
    "call_match": ("call right, leniently compared", "调用正确（宽松比较）", False),
    "call_exact_of_calls": ("call exact, where one was wanted", "应调用时完全正确", False),
    "decision_accuracy": ("decision: call or not", "是否调用判断正确", False),
    "irrelevance_accuracy": ("no call where none was wanted", "不该调用时没有调用", False),
    "call_precision": ("call precision", "调用精确率", False),
    "call_recall": ("call recall", "调用召回率", False),
    "name_accuracy": ("function name", "函数名正确", False),
    "name_f1": ("function name F1", "函数名 F1", False),
    "arguments_exact": ("arguments exact, name right", "函数名正确时参数完全正确", False),
    "arguments_match": ("arguments right, leniently", "函数名正确时参数正确（宽松）", False),
    "argument_f1": ("argument F1", "参数 F1", False),
    "json_valid": ("arguments are JSON", "参数是合法 JSON", False),
    "schema_valid": ("arguments fit the schema", "参数符合定义", False),
    "unknown_function_rate": ("unknown functions", "未知函数", True),
    "unknown_argument_rate": ("unknown arguments", "未知参数", True),
    "unparsed_call_rate": ("calls left as text", "未解析的调用", True),
    "exact_match": ("exact match", "完全一致", False),
    "label_accuracy": ("label accuracy", "标签准确率", False),
    "macro_f1": ("macro F1", "宏平均 F1", False),
    "chrf": ("chrF", "chrF", False),
    "rouge_l": ("ROUGE-L", "ROUGE-L", False),
    "length_ratio": ("length of answer / reference", "回答与参考的长度比", False),
    "preamble_rate": ("preambles", "套话开头", True),
    "truncation_rate": ("cut off", "被截断", True),
    "repetition_rate": ("repetitive", "重复", True),
    "empty_rate": ("empty", "为空", True),
}
_CALLS_PLOTTED = ["call_exact", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"]
_TEXTS_PLOTTED = ["exact_match", "macro_f1", "chrf", "rouge_l"]


def figure_name(name: str, language: Language | None = None) -> str:
    """A figure's name for people."""
    en, zh, _ = FIGURES[name]
    return say(en, zh, language)


def page(report: Report, language: Language | None = None) -> str:
    """The HTML text."""
    names = [name for name in FIGURES if any(name in run.figures for run in report.runs)]

    def words(en: str, zh: str) -> str:
        return say(en, zh, language)

    return _template().render(
        report=report,
        advice=report.advice(language),
        names=names,
        plotted=[name for name in _CALLS_PLOTTED + _TEXTS_PLOTTED if name in names],
        title_of=lambda name: figure_name(name, language),
        words=words,
        lang=words("en", "zh-CN"),
    )


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
