"""Advice from the metrics of a report: what to change before the next training run, if the metrics support it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from luthier.evaluation.comparison import Comparison
from luthier.evaluation.metric_catalog import METRICS, format_value, is_improvement
from luthier.evaluation.model_run import ModelRun
from luthier.evaluation.tool_call_report import HEADLINE
from luthier.language import Language, say

Say = Callable[[str, str], str]  # (English, Chinese) → the one in the language of the report

_FEW_CASES = 50  # with fewer, intervals are wider than most differences of interest
_COMPARED_TEXT_METRICS = ("exact_match", "label_accuracy", "chrf", "full_valid_loss", "valid_loss")
_WEAK_ACCURACY, _MIN_CASES_PER_CLASS, _MAX_WEAK_CLASSES = 0.7, 3, 3
_MAX_SWALLOWING, _SWALLOWED_RATE = 2, 0.1
_LOSS_INCREASE = 1.02  # relative change of validation loss that is more than noise
_DEFECT_RATE = 0.02
_SCHEMA_ERRORS = {
    "missing_required": ("required arguments are missing", "必填参数缺失"),
    "unknown_argument": ("arguments are not in the definition", "出现了定义之外的参数"),
    "wrong_type": ("arguments have the wrong type", "参数类型不对"),
    "not_in_enum": ("values are not in their enumeration", "取值不在枚举范围内"),
    "unknown_function": ("unknown functions are called", "调用了不存在的函数"),
    "not_an_object": ("arguments are not a JSON object", "参数不是 JSON 对象"),
}


def advise(
    runs: Sequence[ModelRun],
    comparisons: Sequence[Comparison],
    losses: Sequence[tuple[float, float]],
    language: Language | None,
) -> list[str]:
    """Sentences of advice, most urgent first. `runs[0]` is a run of the evaluated model; `losses`: (epoch, full
    validation loss in nats) of the job that trained it.
    """

    def tell(en: str, zh: str) -> str:
        return say(en, zh, language)

    main = runs[0]
    is_calls = HEADLINE in main.metrics
    compared = (HEADLINE,) if is_calls else _COMPARED_TEXT_METRICS
    sentences = [
        *_model_comparisons([comparison for comparison in comparisons if comparison.metric in compared], tell),
        *_loss_curve(losses, tell),
        *(_call_quality(main, comparisons, tell) if is_calls else _text_quality(main, tell)),
        *_swallowing([run for run in runs if run.model == main.model], tell),
        *_weak_classes(main, tell),
    ]
    cases = len(next(iter(main.scores.values()), []))
    if cases < _FEW_CASES:
        sentences.append(
            tell(
                f"Only {cases} examples were evaluated: the intervals are wide. {_FEW_CASES} or more examples "
                "distinguish models better.",
                f"只测了 {cases} 个样本，区间很宽；{_FEW_CASES} 个以上才更容易分出高下。",
            )
        )
    return sentences


def _model_comparisons(comparisons: Sequence[Comparison], tell: Say) -> Iterator[str]:
    for comparison in comparisons:
        metric, (other, definitions), (model, _) = comparison.metric, comparison.first, comparison.second
        if other == model:
            continue
        where = "" if metric != HEADLINE else tell(f", definitions {definitions}", f"，函数定义 {definitions}")
        title = tell(METRICS[metric].en, METRICS[metric].zh)
        yield f"{title}{where}" + tell(": ", "：") + _verdict(comparison, model, other, tell)


def _verdict(comparison: Comparison, model: str, other: str, tell: Say) -> str:
    metric, difference = comparison.metric, comparison.difference
    points, n = _format_difference(metric, difference.value, tell), difference.n
    if not difference.significant:
        if difference.value and not difference.decidable:
            return tell(
                f"{model} differs from {other} by {points}; {n} examples are too few for a verdict.",
                f"{model} 与 {other} 相差 {points}；只有 {n} 个样本，不足以下结论。",
            )
        if difference.interval_excludes_zero:
            return tell(
                f"{model} differs from {other} by {points}, which is not certain at n = {n} (p = {difference.p:.2f}).",
                f"{model} 与 {other} 相差 {points}，但 n = {n} 时还不能确定（p = {difference.p:.2f}）。",
            )
        return tell(
            f"no significant difference between {model} and {other} at n = {n}.",
            f"n = {n} 时看不出 {model} 与 {other} 有差别。",
        )
    if is_improvement(metric, difference.value):
        return tell(f"{model} is better than {other} ({points}).", f"{model} 比 {other} 好（{points}）。")
    return tell(
        f"{model} is worse than {other} ({points}). Look at the failures first.",
        f"{model} 比 {other} 差（{points}）。请先看失败的样本。",
    )


def _format_difference(metric: str, value: float, tell: Say) -> str:
    text = format_value(metric, value, sign=True)
    return tell(f"{text} points", f"{text} 个百分点") if METRICS[metric].unit == "share" else text


def _loss_curve(losses: Sequence[tuple[float, float]], tell: Say) -> Iterator[str]:
    if len(losses) < 2:
        return
    best = min(losses, key=lambda point: point[1])
    last = losses[-1]
    if last[1] > best[1] * _LOSS_INCREASE:
        yield tell(
            f"Overfitting since epoch {best[0]:g}: validation loss was {best[1]:.3f} there and {last[1]:.3f} at the "
            f"end. Train {best[0]:g} epochs, or use that checkpoint.",
            f"第 {best[0]:g} 轮之后过拟合：验证损失当时为 {best[1]:.3f}，结束时为 {last[1]:.3f}。"
            f"请只训练 {best[0]:g} 轮，或使用那个检查点。",
        )
    elif best is last and losses[-2][1] > last[1] * _LOSS_INCREASE:
        yield tell(
            "Validation loss was still falling at the end: more epochs, or a higher learning rate, may help.",
            "结束时验证损失仍在下降：增加轮数或提高学习率可能有帮助。",
        )


def _call_quality(main: ModelRun, comparisons: Sequence[Comparison], tell: Say) -> Iterator[str]:
    for comparison in comparisons:
        same_model = comparison.first[0] == comparison.second[0] == main.model
        difference = comparison.difference
        if comparison.metric == HEADLINE and same_model and difference.significant and difference.value < 0:
            more, fewer = comparison.first[1], comparison.second[1]
            yield tell(
                f"Without definitions ({fewer}) calls are worse than with them ({more}): the model "
                "has not memorized the functions yet. Add examples, or epochs.",
                f"不发送函数定义（{fewer}）时不如发送时（{more}）：函数还没有被记住。请增加样本或轮数。",
            )
    irrelevance = main.metrics.get("irrelevance_accuracy")
    if irrelevance and irrelevance.n >= _MIN_CASES_PER_CLASS and irrelevance.value < _WEAK_ACCURACY:
        yield tell(
            f"Functions are called where no call is expected ({irrelevance.n} such examples): add examples without a "
            "call, 10 to 20 % of the file.",
            f"不该调用函数时调用了（此类样本 {irrelevance.n} 个）：请加入不调用函数的样本，约占 10% 到 20%。",
        )
    if main.schema_errors:
        kind, count = next(iter(main.schema_errors.items()))
        en, zh = _SCHEMA_ERRORS.get(kind, ("values break the schema", "取值不符合定义"))
        yield tell(
            f"The most frequent error in calls: {en} ({count}). Use strict decoding, or add correct examples.",
            f"调用中最常见的问题：{zh}（{count} 处）。请使用严格解码，或增加示范这一点的样本。",
        )


def _text_quality(main: ModelRun, tell: Say) -> Iterator[str]:
    defects = {
        "preamble_rate": (
            "begins with words like “Sure!”, a habit of the teacher. `luthier check --fix` removes them from the data",
            "以“好的”之类的应答语开头：学到了教师模型的习惯。可用 `luthier check --fix` 从数据中去掉",
        ),
        "truncation_rate": (
            "stops at the token limit: raise --max-tokens, or check that training answers end properly",
            "因达到 token 上限而中断：请提高 --max-tokens，或检查训练数据中的回答是否完整",
        ),
        "repetition_rate": (
            "repeats itself: fewer epochs, a lower learning rate, or more varied answers",
            "不断重复：请减少轮数、降低学习率，或让回答更多样",
        ),
        "empty_rate": ("is empty: look for empty answers in the training data", "为空：请检查训练数据中是否有空回答"),
    }
    for name, (en, zh) in defects.items():
        rate = main.metrics.get(name)
        if rate and rate.value > _DEFECT_RATE:
            share = f"{100 * rate.value:.0f} %"
            yield tell(f"{share} of the answers: the answer {en}.", f"{share} 的回答{zh}。")


def _swallowing(runs: Sequence[ModelRun], tell: Say) -> Iterator[str]:
    """Advice on functions or labels that the model answers in place of others, the most frequent first, each by the run
    in which it is most frequent. The name "" stands for no call or no known label.
    """
    is_calls = HEADLINE in runs[0].metrics
    most: dict[str, tuple[ModelRun, Counter[str]]] = {}
    for run in runs:
        for label, replaced in _given_instead(run).items():
            if label not in most or replaced.total() > most[label][1].total():
                most[label] = (run, replaced)
    ranked = sorted(most.items(), key=lambda entry: -entry[1][1].total())
    for label, (run, replaced) in ranked[:_MAX_SWALLOWING]:
        count, cases = replaced.total(), sum(sum(row.values()) for row in run.confusion.values())
        if count < max(_MIN_CASES_PER_CLASS, _SWALLOWED_RATE * cases):
            return
        listed = tell(", ", "、").join(f"{name} {number}" for name, number in replaced.most_common(_MAX_WEAK_CLASSES))
        where = tell(f", definitions {run.definitions}", f"，函数定义 {run.definitions}") if is_calls else ""
        if label:
            kind = tell("functions", "函数") if is_calls else tell("labels", "标签")
            yield tell(
                f"{label} was the answer to {count} questions that required other {kind} ({listed}{where}): does the "
                "form of a question give the answer away in the training data? `luthier check` looks for that.",
                f"有 {count} 个问题应当用其他{kind}，却答成了 {label}（{listed}{where}）："
                "是不是训练数据中问题的形式就决定了它？`luthier check` 会检查这一点。",
            )
        elif is_calls:
            yield tell(
                f"No function was called for {count} questions that required one ({listed}{where}): send the "
                "definitions, or add examples.",
                f"有 {count} 个问题应当调用函数却没有调用（{listed}{where}）：请发送函数定义，或增加样本。",
            )


def _given_instead(run: ModelRun) -> dict[str, Counter[str]]:
    """For each wrong answer of a run, the expected answers that it replaced, with counts."""
    counts: dict[str, Counter[str]] = {}
    for expected, row in run.confusion.items():
        for predicted, count in row.items():
            if expected and predicted != expected:
                counts.setdefault(predicted, Counter())[expected] += count
    return counts


def _weak_classes(main: ModelRun, tell: Say) -> Iterator[str]:
    """Advice on functions or labels with low accuracy, worst first."""
    weak = []
    for label, row in main.confusion.items():
        n, correct = sum(row.values()), row.get(label, 0)
        if label and n >= _MIN_CASES_PER_CLASS and correct < _WEAK_ACCURACY * n:
            weak.append((correct / n, label, correct, n))
    for _, label, correct, n in sorted(weak)[:_MAX_WEAK_CLASSES]:
        yield tell(
            f"{label} is correct in {correct} of {n}: add examples of it, and of what it is confused with.",
            f"{label} 只对了 {correct}/{n}：请增加它以及易混类别的样本。",
        )
