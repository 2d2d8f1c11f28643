"""The report card of text answers: questions and answers of one run in, named figures with intervals out."""

from collections.abc import Sequence

import numpy as np

from luthier.data.check.quality.preamble import strip_preamble
from luthier.evaluation import text_metrics
from luthier.evaluation.cases import Case
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import Interval, bootstrap, mean, rate
from luthier.evaluation.tool_call_report import MOST_FAILURES, Run, efficiency, last_words

STUCK = 0.5  # an answer of which half repeats itself


def card(model: str, asked: Sequence[Case], answers: Sequence[Answer]) -> Run:
    """The figures of one run; labels are scored where the references are labels."""
    wanted = [case.text or "" for case in asked]
    said = [answer.content or "" for answer in answers]
    pairs = list(zip(wanted, said, strict=True))
    scores = {
        "exact_match": [float(text_metrics.exact_match(*pair)) for pair in pairs],
        "chrf": [text_metrics.chrf(*pair) for pair in pairs],
        "rouge_l": [text_metrics.rouge_l(*pair) for pair in pairs],
    }
    figures = {name: _figure(name, values) for name, values in scores.items()}
    if text_metrics.are_labels(wanted):
        figures["label_accuracy"] = figures["exact_match"]
        figures["macro_f1"] = _macro_f1(
            [text_metrics.plain(one) for one in wanted], [text_metrics.plain(one) for one in said]
        )
    figures["length_ratio"] = mean([len(b) / len(a) for a, b in pairs if a])
    for name, hits in {
        "preamble_rate": [bool(strip_preamble(one, last_words(case))) for case, one in zip(asked, said, strict=True)],
        "truncation_rate": [answer.finish_reason == "length" for answer in answers],
        "repetition_rate": [text_metrics.repetition(one) > STUCK for one in said],
        "empty_rate": [not one.strip() for one in said],
    }.items():
        figures[name] = rate(sum(hits), len(hits))
    return Run(
        model,
        "full",
        {name: figure for name, figure in figures.items() if figure.n},
        scores,
        confusion=_confusion(wanted, said) if "macro_f1" in figures else {},
        efficiency=efficiency(answers),
        failures=_failures(asked, answers, scores),
    )


def _figure(name: str, values: list[float]) -> Interval:
    return rate(int(sum(values)), len(values)) if name == "exact_match" else mean(values)


def _macro_f1(wanted: list[str], said: list[str]) -> Interval:
    one, other = np.array(wanted), np.array(said)
    return bootstrap(lambda chosen: text_metrics.macro_f1(list(one[chosen]), list(other[chosen])), len(wanted))


def _confusion(wanted: list[str], said: list[str]) -> dict[str, dict[str, int]]:
    """Wanted label → said label → cases; what is no label stands under ""."""
    known = {text_metrics.plain(one): one for one in wanted}
    counts: dict[str, dict[str, int]] = {}
    for one, other in zip(wanted, said, strict=True):
        row = counts.setdefault(known[text_metrics.plain(one)], {})
        label = known.get(text_metrics.plain(other), "")
        row[label] = row.get(label, 0) + 1
    return counts


def _failures(
    asked: Sequence[Case], answers: Sequence[Answer], scores: dict[str, list[float]]
) -> list[dict[str, object]]:
    """The answers furthest from their reference, worst first."""
    order = sorted(range(len(asked)), key=lambda index: scores["chrf"][index])
    failed: list[dict[str, object]] = []
    for index in [index for index in order if not scores["exact_match"][index]][:MOST_FAILURES]:
        case, said = asked[index], answers[index].content
        chrf = round(scores["chrf"][index], 3)
        failed.append({"line": case.line, "asked": last_words(case), "wanted": case.text, "said": said, "chrf": chrf})
    return failed
