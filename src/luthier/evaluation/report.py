"""One report from several runs over the same cases: figures, paired comparisons, what they mean and what to do.

Knows nothing about how it is shown.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from luthier.data.examples.tool_definitions import Shown
from luthier.evaluation.advice import advice
from luthier.evaluation.statistics import Difference, paired_mean, paired_rate
from luthier.evaluation.tool_call_report import Run
from luthier.language import Language, say

Kind = Literal["functions", "text"]
_HEADLINES = ("call_exact", "label_accuracy", "chrf")
_RATES = ("call_exact", "exact_match")


@dataclass(frozen=True)
class Comparison:
    """`second` against `first`: each a model and the definitions it was sent; `figure`: what was compared."""

    figure: str
    first: tuple[str, Shown]
    second: tuple[str, Shown]
    difference: Difference


@dataclass(frozen=True)
class Report:
    """`losses`: (epoch, full validation loss) of the job that made the model, where it is known; `price_in`: USD for a
    million prompt tokens, where it was given.
    """

    kind: Kind
    file: str
    examples: int
    runs: list[Run]
    comparisons: list[Comparison]
    losses: list[tuple[float, float]]
    price_in: float | None = None

    def saving(self) -> dict[str, float] | None:
        """Mean prompt tokens with full definitions and with none, and what is saved; None where not both were run."""
        means = {run.shown: run.efficiency.get("prompt_tokens_mean") for run in self.runs[::-1] if self._judges(run)}
        full, none = means.get("full"), means.get("none")
        if self.kind != "functions" or not full or not none:
            return None
        made = {"prompt_tokens_full": full, "prompt_tokens_none": none, "share_saved": 1 - none / full}
        if self.price_in is not None:  # tokens of one question times the price of a million: USD for a million of them
            made["usd_saved_per_million_questions"] = (full - none) * self.price_in
        return made

    def saving_in_words(self, language: Language | None = None) -> str | None:
        """One sentence."""
        found = self.saving()
        if found is None:
            return None
        full, none, share = found["prompt_tokens_full"], found["prompt_tokens_none"], 100 * found["share_saved"]
        text = say(
            f"Without definitions a question costs {none:.0f} prompt tokens instead of {full:.0f}: {share:.0f} % less",
            f"不发送函数定义时，每个问题的提示词元从 {full:.0f} 降到 {none:.0f}：节省 {share:.0f}%",
            language,
        )
        if self.price_in is None:
            return text + say(".", "。", language)
        money, price = f"${found['usd_saved_per_million_questions']:,.2f}", f"${self.price_in:g}"
        return text + say(
            f", {money} per million questions at {price} per million tokens.",
            f"；按每百万词元 {price} 计，每百万次提问节省 {money}。",
            language,
        )

    def _judges(self, run: Run) -> bool:
        return run.model == self.runs[0].model

    def advice(self, language: Language | None = None) -> list[str]:
        """What the numbers say, most urgent first."""
        seen = [(one.figure, one.first, one.second, one.difference) for one in self.comparisons]
        return advice(self.runs, seen, self.losses, language)

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        """Everything, as JSON: figures as {value, low, high, n}; a figure that does not exist is absent."""
        saving = self.saving()
        return {
            "kind": self.kind,
            "file": self.file,
            "examples": self.examples,
            "runs": [_run(run) for run in self.runs],
            "comparisons": [_comparison(one) for one in self.comparisons],
            "valid_losses": [{"epoch": epoch, "full_valid_loss": loss} for epoch, loss in self.losses],
            **({"saving": {key: round(value, 4) for key, value in saving.items()}} if saving else {}),
            "advice": self.advice(language),
        }


def report(
    kind: Kind, file: str, examples: int, runs: Sequence[Run], losses: Sequence[tuple[float, float]] = ()
) -> Report:
    """Runs in the order in which they are compared: the model to judge first, then what it is held against."""
    return Report(kind, file, examples, list(runs), _comparisons(runs), list(losses))


def headline(report: dict[str, Any]) -> dict[str, Any] | None:
    """The figure that stands for a report, as `to_dict` gives it: of its first run; None where it has none."""
    first = report["runs"][0]
    found = next((name for name in _HEADLINES if name in first["figures"]), None)
    if found is None:
        return None
    return {"figure": found, "definitions": first["definitions"], **first["figures"][found]}


def _comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Each other model against the first, with the same definitions; and fewer definitions against more."""
    made = []
    for run in runs:
        others = [other for other in runs if other.model != run.model and other.shown == run.shown]
        if run.model == runs[0].model:
            made += [_compare(figure, other, run) for other in others for figure in _comparable(other, run)]
    mine = [run for run in runs if run.model == runs[0].model]
    made += [_compare(figure, more, fewer) for more, fewer in pairwise(mine) for figure in _comparable(more, fewer)]
    return made


def _comparable(one: Run, other: Run) -> Iterator[str]:
    """Figures of both. Losses of models that cut text into other tokens say nothing about one another."""
    same_tokens = one.loss_tokens == other.loss_tokens
    return (name for name in other.scores if name in one.scores and (same_tokens or "valid_" not in name))


def _compare(figure: str, first: Run, second: Run) -> Comparison:
    one, other = first.scores[figure], second.scores[figure]
    if figure in _RATES:
        difference = paired_rate([bool(v) for v in one], [bool(v) for v in other])
    else:
        difference = paired_mean(one, other)
    return Comparison(figure, (first.model, first.shown), (second.model, second.shown), difference)


def _run(run: Run) -> dict[str, Any]:
    made = asdict(run)
    made["definitions"] = made.pop("shown")
    del made["loss_tokens"]
    made["figures"] = {name: _rounded(value) for name, value in made["figures"].items()}
    made["efficiency"] = _rounded(made["efficiency"])
    made["scores"] = {name: [round(value, 4) for value in values] for name, values in made["scores"].items()}
    return made


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "figure": one.figure,
        "first": {"model": one.first[0], "definitions": one.first[1]},
        "second": {"model": one.second[0], "definitions": one.second[1]},
        **_rounded(asdict(one.difference)),
        "difference_seen": one.difference.seen,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if math.isnan(value) else round(value, 4) for key, value in values.items()}
