"""Preference pairs that contradict each other, and preferences that the length of the answers gives away.

All other checks treat a pair as a conversation that ends with its preferred answer.
"""

from collections.abc import Iterable, Iterator
from statistics import median

from luthier.data.check.quality.batch import Batch
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, make_finding
from luthier.data.findings.kinds import Kind

_MIN_PAIRS = 16
_MIN_SHARE = 0.9  # of the pairs; in ordinary data, people prefer the longer answer in 60 to 65 % of them
_MIN_RATIO = 1.5  # the median ratio of the longer answer's characters to the shorter one's
_REMEDY_EN = (
    "Fine if length is what the model should learn; otherwise add pairs in which the other length is preferred: a "
    "model learns length before anything else."
)
_REMEDY_ZH = "如果要学的就是长短则没有问题；否则请加入长短相反的偏好对：模型最先学会的是长短。"


class PreferencePairCheck(QualityCheck):
    """Keeps two numbers for each pair, never its text."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "preference_reversed": Kind(
            "warning",
            "the same question and answers as in line {detail}, but the other answer is preferred",
            "与第 {detail} 行是同样的问题和同样的两个回答，优选的却是另一个",
            "Decide which answer is better, and remove the other pair: together they teach nothing.",
            "请确定哪个回答更好，并删去另一个样本：两个都留着等于什么也没教。",
            "{place}: the same pair the other way round",
        ),
        "preferred_longer": Kind(
            "note",
            "the preferred answer is the longer one in {value} pairs, {detail} times as long (median)",
            "优选的回答更长的样本：{value}，长度为另一个的 {detail} 倍（中位数）",
            _REMEDY_EN, _REMEDY_ZH, "The preferred answer is the longer one in {value} pairs",
        ),
        "preferred_shorter": Kind(
            "note",
            "the preferred answer is the shorter one in {value} pairs, the other one {detail} times as long (median)",
            "优选的回答更短的样本：{value}，另一个的长度为它的 {detail} 倍（中位数）",
            _REMEDY_EN, _REMEDY_ZH, "The preferred answer is the shorter one in {value} pairs",
        ),
    }  # fmt: skip

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}  # the hash of (context, preferred answer, other answer) → its first line
        self._ratios: list[float] = []  # characters of the preferred answer to those of the other one

    def check(self, batch: Batch) -> Iterable[Finding]:
        for pair in batch.answers.pairs:
            answers = (hash(pair.preferred), hash(pair.non_preferred))
            self._lines.setdefault(hash((pair.context, *answers)), batch.lines[pair.example])
            if pair.preferred and pair.non_preferred:
                self._ratios.append(len(pair.preferred) / len(pair.non_preferred))
            earlier = self._lines.get(hash((pair.context, *reversed(answers))))
            if earlier is not None:
                yield batch.finding("preference_reversed", pair.example, detail=str(earlier))

    def finish(self) -> Iterator[Finding]:
        count = len(self._ratios)
        if count < _MIN_PAIRS:
            return
        for code, ratios in (
            ("preferred_longer", self._ratios),
            ("preferred_shorter", [1 / ratio for ratio in self._ratios]),
        ):
            larger, middle = sum(ratio > 1 for ratio in ratios), median(ratios)
            if larger >= _MIN_SHARE * count and middle >= _MIN_RATIO:
                yield make_finding(code, value=f"{larger} / {count}", detail=f"{middle:.1f}")
