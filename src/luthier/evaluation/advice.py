"""From figures to advice: what to change before the next round, said only where the numbers bear it out."""

from collections.abc import Callable, Iterator, Sequence

from luthier.data.examples.tool_definitions import Shown
from luthier.evaluation.metric_catalog import FIGURES, is_better, number
from luthier.evaluation.statistics import Difference
from luthier.evaluation.tool_call_report import HEADLINE, Run
from luthier.language import Language, say

Seen = tuple[str, tuple[str, Shown], tuple[str, Shown], Difference]  # figure, first, second, second minus first
_FEW = 50  # below it an interval is wider than most differences that one hopes for
_TOLD = ("exact_match", "label_accuracy", "chrf", "full_valid_loss", "valid_loss")  # of texts
_WEAK, _LEAST_OF_A_CLASS = 0.7, 3
_FAULTS = {
    "missing_required": ("required arguments are left out", "必填参数缺失"),
    "unknown_argument": ("arguments are made up", "出现了定义之外的参数"),
    "wrong_type": ("arguments have the wrong type", "参数类型不对"),
    "not_in_enum": ("values lie outside their enumeration", "取值不在枚举范围内"),
    "unknown_function": ("functions are called that do not exist", "调用了不存在的函数"),
    "not_an_object": ("arguments are not a JSON object", "参数不是 JSON 对象"),
}


def advice(
    runs: Sequence[Run], seen: Sequence[Seen], losses: Sequence[tuple[float, float]], language: Language | None
) -> list[str]:
    """Sentences, most urgent first; `runs[0]` is the model that is judged."""

    def words(en: str, zh: str) -> str:
        return say(en, zh, language)

    main = runs[0]
    told = (HEADLINE,) if HEADLINE in main.figures else _TOLD
    made = [*_against_others([one for one in seen if one[0] in told], words), *_overfitting(losses, words)]
    made += _calls(main, seen, words) if HEADLINE in main.figures else _texts(main, words)
    made += _classes(main, words)
    cases = len(next(iter(main.scores.values()), []))
    if cases < _FEW:
        made.append(
            words(
                f"Only {cases} examples were asked: intervals are wide. {_FEW} or more tell models apart better.",
                f"只测了 {cases} 个样本，区间很宽；{_FEW} 个以上才更容易分出高下。",
            )
        )
    return made


Words = Callable[[str, str], str]


def _against_others(seen: Sequence[Seen], words: Words) -> Iterator[str]:
    for figure, first, second, difference in seen:
        if first[0] == second[0]:
            continue
        points, n = _difference(figure, difference.value, words), difference.n
        where = "" if figure != HEADLINE else words(f", definitions {first[1]}", f"，函数定义 {first[1]}")
        if not difference.seen:
            yield words(
                f"{figure}{where}: no difference seen between {second[0]} and {first[0]} at n = {n}.",
                f"{figure}{where}：n = {n} 时看不出 {second[0]} 与 {first[0]} 有差别。",
            )
        elif is_better(figure, difference.value):
            yield words(
                f"{figure}{where}: {second[0]} is better than {first[0]} ({points}).",
                f"{figure}{where}：{second[0]} 比 {first[0]} 好（{points}）。",
            )
        else:
            yield words(
                f"{figure}{where}: {second[0]} is worse than {first[0]} ({points}). Look at the failures before "
                "anything else.",
                f"{figure}{where}：{second[0]} 比 {first[0]} 差（{points}）。请先看失败的样本。",
            )


def _difference(figure: str, value: float, words: Words) -> str:
    made = number(figure, value, sign=True)
    return words(f"{made} points", f"{made} 个百分点") if FIGURES[figure].unit == "share" else made


def _overfitting(losses: Sequence[tuple[float, float]], words: Words) -> Iterator[str]:
    if len(losses) < 2:
        return
    best = min(losses, key=lambda point: point[1])
    last = losses[-1]
    if last[1] > best[1] * 1.02:
        yield words(
            f"Overfitting since epoch {best[0]:g}: validation loss was {best[1]:.3f} there and {last[1]:.3f} at the "
            f"end. Train {best[0]:g} epochs, or use that checkpoint.",
            f"第 {best[0]:g} 轮之后过拟合：验证损失当时为 {best[1]:.3f}，结束时为 {last[1]:.3f}。"
            f"请只训练 {best[0]:g} 轮，或使用那个检查点。",
        )
    elif best is last and losses[-2][1] > last[1] * 1.02:
        yield words(
            "Validation loss was still falling at the end: more epochs, or a higher learning rate, may help.",
            "结束时验证损失仍在下降：增加轮数或提高学习率可能有帮助。",
        )


def _calls(main: Run, seen: Sequence[Seen], words: Words) -> Iterator[str]:
    for figure, first, second, difference in seen:
        if figure == HEADLINE and first[0] == second[0] == main.model and difference.seen and difference.value < 0:
            yield words(
                f"Without definitions ({second[1]}) calls are worse than with them ({first[1]}): the functions are not "
                "learnt by heart yet. Add examples, or epochs.",
                f"不发送函数定义（{second[1]}）时不如发送时（{first[1]}）：函数还没有被记住。请增加样本或轮数。",
            )
    irrelevance = main.figures.get("irrelevance_accuracy")
    if irrelevance and irrelevance.n >= _LEAST_OF_A_CLASS and irrelevance.value < _WEAK:
        yield words(
            f"Functions are called where nothing should be ({irrelevance.n} such examples): add examples without a "
            "call, 10 to 20 % of the file.",
            f"不该调用函数时调用了（此类样本 {irrelevance.n} 个）：请加入不调用函数的样本，约占 10% 到 20%。",
        )
    if main.faults:
        fault, count = next(iter(main.faults.items()))
        en, zh = _FAULTS.get(fault, ("values break the schema", "取值不符合定义"))
        yield words(
            f"The commonest fault of calls: {en} ({count}). Ask for strict decoding, or add examples that show it.",
            f"调用中最常见的问题：{zh}（{count} 处）。请使用严格解码，或增加示范这一点的样本。",
        )


def _texts(main: Run, words: Words) -> Iterator[str]:
    said = {
        "preamble_rate": (
            "begins with words like “Sure!”, a habit of the teacher. `luthier check --fix` takes them off the data",
            "以“好的”之类的套话开头：学到了教师模型的习惯。可用 `luthier check --fix` 从数据中去掉",
        ),
        "truncation_rate": (
            "stops at the token limit: raise --max-tokens, or check that training answers end properly",
            "因达到词元上限而中断：请提高 --max-tokens，或检查训练数据中的回答是否完整",
        ),
        "repetition_rate": (
            "repeats itself: fewer epochs, a lower learning rate, or more varied answers",
            "不断重复：请减少轮数、降低学习率，或让回答更多样",
        ),
        "empty_rate": ("is empty: look for empty answers in the training data", "为空：请检查训练数据中是否有空回答"),
    }
    for name, (en, zh) in said.items():
        figure = main.figures.get(name)
        if figure and figure.value > 0.02:
            share = f"{100 * figure.value:.0f} %"
            yield words(f"{share} of the answers: the answer {en}.", f"{share} 的回答{zh}。")


def _classes(main: Run, words: Words) -> Iterator[str]:
    """Functions or labels that are got right too seldom, worst first."""
    weak = []
    for wanted, row in main.confusion.items():
        n = sum(row.values())
        if wanted and n >= _LEAST_OF_A_CLASS and row.get(wanted, 0) < _WEAK * n:
            weak.append((row.get(wanted, 0) / n, wanted, row.get(wanted, 0), n))
    for _, wanted, right, n in sorted(weak)[:3]:
        yield words(
            f"{wanted} is right in {right} of {n}: add examples of it, and of what it is taken for.",
            f"{wanted} 只对了 {right}/{n}：请增加它以及易混类别的样本。",
        )
