"""The metrics of a report: their order, display names, direction and the format of their values."""

from dataclasses import dataclass
from typing import Literal

from luthier.language import Language, say


@dataclass(frozen=True)
class MetricInfo:
    """A metric's display names, direction and unit. A share (0 to 1) is displayed in per cent, other values as is."""

    en: str
    zh: str
    lower_is_better: bool = False
    unit: Literal["share", "nats", "ratio"] = "share"


METRICS: dict[str, MetricInfo] = {
    "call_exact": MetricInfo("call exact", "调用完全正确"),
    "call_match": MetricInfo("call right, leniently compared", "调用正确（宽松比较）"),
    "call_exact_of_calls": MetricInfo("call exact, where one was expected", "应调用时完全正确"),
    "decision_accuracy": MetricInfo("decision: call or not", "是否调用判断正确"),
    "irrelevance_accuracy": MetricInfo("no call where none was expected", "不该调用时没有调用"),
    "call_precision": MetricInfo("call precision", "调用精确率"),
    "call_recall": MetricInfo("call recall", "调用召回率"),
    "name_accuracy": MetricInfo("function name", "函数名正确"),
    "name_f1": MetricInfo("function name F1", "函数名 F1"),
    "arguments_exact": MetricInfo("arguments exact, name correct", "函数名正确时参数完全正确"),
    "arguments_match": MetricInfo("arguments correct, leniently", "函数名正确时参数正确（宽松）"),
    "argument_f1": MetricInfo("argument F1", "参数 F1"),
    "json_valid": MetricInfo("arguments are JSON", "参数是合法 JSON"),
    "schema_valid": MetricInfo("arguments fit the schema", "参数符合定义"),
    "unknown_function_rate": MetricInfo("unknown functions", "未知函数", lower_is_better=True),
    "unknown_argument_rate": MetricInfo("unknown arguments", "未知参数", lower_is_better=True),
    "unparsed_call_rate": MetricInfo("calls left as text", "未解析的调用", lower_is_better=True),
    "exact_match": MetricInfo("exact match", "完全一致"),
    "label_accuracy": MetricInfo("label accuracy", "标签准确率"),
    "macro_f1": MetricInfo("macro F1", "宏平均 F1"),
    "chrf": MetricInfo("chrF", "chrF"),
    "rouge_l": MetricInfo("ROUGE-L", "ROUGE-L"),
    "length_ratio": MetricInfo("length of answer / reference", "回答与参考的长度比", unit="ratio"),
    "preamble_rate": MetricInfo("preambles", "应答语开头", lower_is_better=True),
    "truncation_rate": MetricInfo("cut off", "被截断", lower_is_better=True),
    "repetition_rate": MetricInfo("repetitive", "重复", lower_is_better=True),
    "empty_rate": MetricInfo("empty", "为空", lower_is_better=True),
    "full_valid_loss": MetricInfo("loss", "损失", lower_is_better=True, unit="nats"),
    "full_valid_mean_token_accuracy": MetricInfo("token accuracy", "token 准确率"),
    "valid_loss": MetricInfo("loss, first examples", "损失（前若干样本）", lower_is_better=True, unit="nats"),
    "valid_mean_token_accuracy": MetricInfo("token accuracy, first examples", "token 准确率（前若干样本）"),
}


def metric_name(name: str, language: Language | None = None) -> str:
    """The display name of a metric."""
    return say(METRICS[name].en, METRICS[name].zh, language)


def format_value(name: str, value: float, *, digits: int = 1, sign: bool = False) -> str:
    """A value, or the difference of two values, without its unit; shares are multiplied by 100."""
    plus = "+" if sign else ""
    if METRICS[name].unit == "share":
        return f"{100 * value:{plus}.{digits}f}"
    return f"{value:{plus}.{3 if METRICS[name].unit == 'nats' else 2}f}"


def is_improvement(name: str, difference: float) -> bool:
    return (difference < 0) == METRICS[name].lower_is_better
