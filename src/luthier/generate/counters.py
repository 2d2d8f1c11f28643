"""What happened to every text of a run, counted as it happens; the report is made of it.

Knows no teacher and no files.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from luthier.generate.filters import Screened
from luthier.generate.judge import Opinion


@dataclass
class Stage:
    """Texts of one kind: how many came, how many with a preamble, and why some were not kept."""

    seen: int = 0
    preambles: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def to_dict(self, kept: int, kept_preambles: int) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "kept": kept,
            "preamble_rate_before": _rate(self.preambles, self.seen),
            "preamble_rate_after": _rate(kept_preambles, kept),
            "rejected": dict(self.reasons.most_common()),
        }


@dataclass
class Tally:
    """`rejects` are lines of the rejects file, each with the place where it belongs in the order."""

    questions: Stage = field(default_factory=Stage)
    answers: Stage = field(default_factory=Stage)
    opinions: list[Opinion] = field(default_factory=list)
    unread_opinions: int = 0
    second_tries: int = 0
    rejects: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def count(self, stage: Stage, screened: Screened) -> None:
        stage.seen += 1
        stage.preambles += screened.preamble

    def reject(self, place: tuple[Any, ...], stage: str, reason: str, **what: Any) -> None:
        counted = self.questions if stage == "question" else self.answers
        counted.reasons[reason] += 1
        self.rejects.append((place, {"stage": stage, "reason": reason, **what}))

    def reject_lines(self) -> list[dict[str, Any]]:
        """In the order of the plan, whatever order the replies came in."""
        return [line for _, line in sorted(self.rejects, key=lambda pair: pair[0])]

    def judged(self) -> dict[str, Any] | None:
        """Mean scores by aspect over everything that was judged."""
        if not self.opinions and not self.unread_opinions:
            return None
        count = len(self.opinions)
        aspects = self.opinions[0].scores if self.opinions else {}
        means = {name: round(sum(o.scores[name] for o in self.opinions) / count, 2) for name in aspects}
        return {"judged": count, "unreadable": self.unread_opinions, "mean_scores": means}


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
