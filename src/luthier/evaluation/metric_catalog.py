"""The figures of a report: their order, their names for people, which way is better, and how one is written."""

from dataclasses import dataclass
from typing import Literal

from luthier.language import Language, say


@dataclass(frozen=True)
class About:
    """`unit`: a share from 0 to 1 is written in per cent, nats and ratios as they are."""

    en: str
    zh: str
    less_is_better: bool = False
    unit: Literal["share", "nats", "ratio"] = "share"


FIGURES: dict[str, About] = {
    "call_exact": About("call exact", "调用完全正确"),
    "call_match": About("call right, leniently compared", "调用正确（宽松比较）"),
    "call_exact_of_calls": About("call exact, where one was wanted", "应调用时完全正确"),
    "decision_accuracy": About("decision: call or not", "是否调用判断正确"),
    "irrelevance_accuracy": About("no call where none was wanted", "不该调用时没有调用"),
    "call_precision": About("call precision", "调用精确率"),
    "call_recall": About("call recall", "调用召回率"),
    "name_accuracy": About("function name", "函数名正确"),
    "name_f1": About("function name F1", "函数名 F1"),
    "arguments_exact": About("arguments exact, name right", "函数名正确时参数完全正确"),
    "arguments_match": About("arguments right, leniently", "函数名正确时参数正确（宽松）"),
    "argument_f1": About("argument F1", "参数 F1"),
    "json_valid": About("arguments are JSON", "参数是合法 JSON"),
    "schema_valid": About("arguments fit the schema", "参数符合定义"),
    "unknown_function_rate": About("unknown functions", "未知函数", less_is_better=True),
    "unknown_argument_rate": About("unknown arguments", "未知参数", less_is_better=True),
    "unparsed_call_rate": About("calls left as text", "未解析的调用", less_is_better=True),
    "exact_match": About("exact match", "完全一致"),
    "label_accuracy": About("label accuracy", "标签准确率"),
    "macro_f1": About("macro F1", "宏平均 F1"),
    "chrf": About("chrF", "chrF"),
    "rouge_l": About("ROUGE-L", "ROUGE-L"),
    "length_ratio": About("length of answer / reference", "回答与参考的长度比", unit="ratio"),
    "preamble_rate": About("preambles", "套话开头", less_is_better=True),
    "truncation_rate": About("cut off", "被截断", less_is_better=True),
    "repetition_rate": About("repetitive", "重复", less_is_better=True),
    "empty_rate": About("empty", "为空", less_is_better=True),
    "full_valid_loss": About("loss", "损失", less_is_better=True, unit="nats"),
    "full_valid_mean_token_accuracy": About("token accuracy", "词元准确率"),
    "valid_loss": About("loss, first examples", "损失（前若干样本）", less_is_better=True, unit="nats"),
    "valid_mean_token_accuracy": About("token accuracy, first examples", "词元准确率（前若干样本）"),
}


def figure_name(name: str, language: Language | None = None) -> str:
    """A figure's name for people."""
    return say(FIGURES[name].en, FIGURES[name].zh, language)


def number(name: str, value: float, *, digits: int = 1, sign: bool = False) -> str:
    """A value of the figure, or a difference of two, without its unit: shares times 100, the rest as it is."""
    plus = "+" if sign else ""
    if FIGURES[name].unit == "share":
        return f"{100 * value:{plus}.{digits}f}"
    return f"{value:{plus}.{3 if FIGURES[name].unit == 'nats' else 2}f}"


def is_better(name: str, difference: float) -> bool:
    return (difference < 0) == FIGURES[name].less_is_better
