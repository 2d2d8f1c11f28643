"""A report on several runs over the same cases: metrics, paired comparisons, advice."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from luthier.evaluation.advice import advise
from luthier.evaluation.comparison import Comparison
from luthier.evaluation.model_run import ModelRun
from luthier.evaluation.statistics import Difference, paired_means, paired_proportions
from luthier.language import Language, say

Kind = Literal["functions", "text"]
_HEADLINES = ("call_exact", "label_accuracy", "chrf")
_BINARY_METRICS = ("call_exact", "exact_match")


@dataclass(frozen=True)
class Report:
    """The runs of the evaluated model and of the models that it is compared with.

    `examples`: the number of cases. `losses`: (epoch, full validation loss) of the job that trained the model, if
    available. `price_in`: USD per million prompt tokens, if given.
    """

    kind: Kind
    file: str
    examples: int
    runs: list[ModelRun]
    comparisons: list[Comparison]
    losses: list[tuple[float, float]]
    price_in: float | None = None

    def prompt_token_saving(self) -> dict[str, float] | None:
        """The mean number of prompt tokens with full definitions and without any, and the saving; None unless both were
        run.
        """
        means = {
            run.definitions: run.efficiency.get("prompt_tokens_mean")
            for run in reversed(self.runs)
            if run.model == self.runs[0].model
        }
        full, none = means.get("full"), means.get("none")
        if self.kind != "functions" or not full or not none:
            return None
        saving = {"prompt_tokens_full": full, "prompt_tokens_none": none, "share_saved": 1 - none / full}
        if self.price_in is not None:  # tokens per question times USD per million tokens: USD per million questions
            saving["usd_saved_per_million_questions"] = (full - none) * self.price_in
        return saving

    def saving_sentence(self, language: Language | None = None) -> str | None:
        saving = self.prompt_token_saving()
        if saving is None:
            return None
        full, none, share = saving["prompt_tokens_full"], saving["prompt_tokens_none"], 100 * saving["share_saved"]
        text = say(
            f"Without definitions a question costs {none:.0f} prompt tokens instead of {full:.0f}: {share:.0f} % less",
            f"不发送函数定义时，每个问题的提示 token 从 {full:.0f} 降到 {none:.0f}：节省 {share:.0f}%",
            language,
        )
        if self.price_in is None:
            return text + say(".", "。", language)
        money, price = f"${saving['usd_saved_per_million_questions']:,.2f}", f"${self.price_in:g}"
        return text + say(
            f", {money} per million questions at {price} per million tokens.",
            f"；按每百万 token {price} 计，每百万次提问节省 {money}。",
            language,
        )

    def advice(self, language: Language | None = None) -> list[str]:
        """What to change before the next training run, most urgent first."""
        return advise(self.runs, self.comparisons, self.losses, language)

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        """The JSON report. Metrics are {value, low, high, n}; a metric that does not apply is absent."""
        saving = self.prompt_token_saving()
        return {
            "kind": self.kind,
            "file": self.file,
            "examples": self.examples,
            "runs": [_run_to_dict(run) for run in self.runs],
            "comparisons": [_comparison_to_dict(comparison) for comparison in self.comparisons],
            "valid_losses": [{"epoch": epoch, "full_valid_loss": loss} for epoch, loss in self.losses],
            **({"saving": {key: round(value, 4) for key, value in saving.items()}} if saving else {}),
            "advice": self.advice(language),
        }


def build_report(
    kind: Kind, file: str, examples: int, runs: Sequence[ModelRun], losses: Sequence[tuple[float, float]] = ()
) -> Report:
    """A report with all comparisons. `runs`: first those of the evaluated model, then those of the other models."""
    return Report(kind, file, examples, list(runs), _comparisons(runs), list(losses))


def headline(report: dict[str, Any]) -> dict[str, Any] | None:
    """The most important metric of a JSON report's first run; None if it has none of the possible ones."""
    first = report["runs"][0]
    name = next((name for name in _HEADLINES if name in first["figures"]), None)
    if name is None:
        return None
    return {"figure": name, "definitions": first["definitions"], **first["figures"][name]}


def _comparisons(runs: Sequence[ModelRun]) -> list[Comparison]:
    """Compares the evaluated model with each other one that got the same definitions, and with itself with more
    definitions.
    """
    comparisons = []
    for run in runs:
        others = [other for other in runs if other.model != run.model and other.definitions == run.definitions]
        if run.model == runs[0].model:
            comparisons += [_compare(metric, other, run) for other in others for metric in _comparable(other, run)]
    evaluated = [run for run in runs if run.model == runs[0].model]
    for more, fewer in pairwise(evaluated):
        comparisons += [_compare(metric, more, fewer) for metric in _comparable(more, fewer)]
    return comparisons


def _comparable(first: ModelRun, second: ModelRun) -> Iterator[str]:
    """The metrics that both runs have. Losses are comparable only between models that share a tokenizer."""
    same_tokens = first.loss_tokens == second.loss_tokens
    return (name for name in second.scores if name in first.scores and (same_tokens or "valid_" not in name))


def _compare(metric: str, first: ModelRun, second: ModelRun) -> Comparison:
    return Comparison(
        metric,
        (first.model, first.definitions),
        (second.model, second.definitions),
        _difference(metric, first.scores[metric], second.scores[metric]),
    )


def _difference(metric: str, first: list[float], second: list[float]) -> Difference:
    if metric in _BINARY_METRICS:
        return paired_proportions(list(map(bool, first)), list(map(bool, second)))
    return paired_means(first, second)


def _run_to_dict(run: ModelRun) -> dict[str, Any]:
    return {
        "model": run.model,
        "figures": {name: _rounded(asdict(interval)) for name, interval in run.metrics.items()},
        "scores": {name: [round(value, 4) for value in values] for name, values in run.scores.items()},
        "faults": run.schema_errors,
        "confusion": run.confusion,
        "efficiency": _rounded(run.efficiency),
        "failures": run.failures,
        "not_available": run.not_available,
        "definitions": run.definitions,
    }


def _comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    return {
        "figure": comparison.metric,
        "first": {"model": comparison.first[0], "definitions": comparison.first[1]},
        "second": {"model": comparison.second[0], "definitions": comparison.second[1]},
        **_rounded(asdict(comparison.difference)),
        "difference_seen": comparison.difference.significant,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if math.isnan(value) else round(value, 4) for key, value in values.items()}
