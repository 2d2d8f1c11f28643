"""Counters of accepted and rejected texts, from which the report of a run is built."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from luthier.generate.filters import ScreenedText
from luthier.generate.judge import JudgeScores


@dataclass
class StageCounts:
    """Counts for questions or answers: texts received, those with a preamble, and rejections by reason."""

    received: int = 0
    preambles: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def to_dict(self, accepted: int, accepted_preambles: int) -> dict[str, Any]:
        return {
            "seen": self.received,
            "kept": accepted,
            "preamble_rate_before": _rate(self.preambles, self.received),
            "preamble_rate_after": _rate(accepted_preambles, accepted),
            "rejected": dict(self.reasons.most_common()),
        }


@dataclass
class RunCounters:
    """The counters of a run; `rejects` holds the lines of the rejects file, each with its sort key."""

    questions: StageCounts = field(default_factory=StageCounts)
    answers: StageCounts = field(default_factory=StageCounts)
    scores: list[JudgeScores] = field(default_factory=list)
    unparsable_scores: int = 0
    retries: int = 0
    rejects: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def count(self, stage: StageCounts, screened: ScreenedText) -> None:
        stage.received += 1
        stage.preambles += screened.preamble

    def reject(self, sort_key: tuple[Any, ...], stage: str, reason: str, **details: Any) -> None:
        counts = self.questions if stage == "question" else self.answers
        counts.reasons[reason] += 1
        self.rejects.append((sort_key, {"stage": stage, "reason": reason, **details}))

    def reject_lines(self) -> list[dict[str, Any]]:
        """The lines of the rejects file in the order of the plan, which does not depend on when replies arrived."""
        return [line for _, line in sorted(self.rejects, key=lambda pair: pair[0])]

    def judge_summary(self) -> dict[str, Any] | None:
        """The mean score of each criterion over all judged answers; None if nothing was judged."""
        if not self.scores and not self.unparsable_scores:
            return None
        judged = len(self.scores)
        aspects = self.scores[0].scores if self.scores else {}
        means = {name: round(sum(scores.scores[name] for scores in self.scores) / judged, 2) for name in aspects}
        return {"judged": judged, "unreadable": self.unparsable_scores, "mean_scores": means}


def _rate(part: int, total: int) -> float | None:
    return round(part / total, 4) if total else None
