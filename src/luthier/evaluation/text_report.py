"""Metrics with intervals for the text answers of one model run."""

from collections.abc import Sequence

import numpy as np

from luthier.data.check.quality.preamble import strip_preamble
from luthier.evaluation import text_metrics
from luthier.evaluation.cases import Case
from luthier.evaluation.model_run import MAX_FAILURES, ModelRun, confusion_matrix, efficiency, last_message_text
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import Interval, bootstrap_interval, bootstrap_mean, proportion

REPETITION_THRESHOLD = 0.5  # half of the answer's n-grams occurred earlier in it


def summarize_texts(model: str, cases: Sequence[Case], answers: Sequence[Answer]) -> ModelRun:
    """The metrics of one run; label metrics are included if the references are labels."""
    references = [case.reference or "" for case in cases]
    texts = [answer.content or "" for answer in answers]
    pairs = list(zip(references, texts, strict=True))
    scores = {
        "exact_match": [float(text_metrics.exact_match(*pair)) for pair in pairs],
        "chrf": [text_metrics.chrf(*pair) for pair in pairs],
        "rouge_l": [text_metrics.rouge_l(*pair) for pair in pairs],
    }
    metrics = {name: _interval(name, values) for name, values in scores.items()}
    has_labels = text_metrics.are_labels(references)
    if has_labels:
        metrics["label_accuracy"] = metrics["exact_match"]
        metrics["macro_f1"] = _macro_f1(*(list(map(text_metrics.normalize, side)) for side in (references, texts)))
    metrics["length_ratio"] = bootstrap_mean([len(text) / len(reference) for reference, text in pairs if reference])
    metrics |= _defect_rates(cases, answers)
    return ModelRun(
        model,
        "full",
        {name: interval for name, interval in metrics.items() if interval.n},
        scores,
        confusion=_label_confusion(references, texts) if has_labels else {},
        efficiency=efficiency(answers),
        failures=_failures(cases, answers, scores),
    )


def _interval(name: str, values: list[float]) -> Interval:
    return proportion(int(sum(values)), len(values)) if name == "exact_match" else bootstrap_mean(values)


def _defect_rates(cases: Sequence[Case], answers: Sequence[Answer]) -> dict[str, Interval]:
    texts = [answer.content or "" for answer in answers]
    defects = {
        "preamble_rate": [
            bool(strip_preamble(text, last_message_text(case))) for case, text in zip(cases, texts, strict=True)
        ],
        "truncation_rate": [answer.finish_reason == "length" for answer in answers],
        "repetition_rate": [text_metrics.repetition(text) > REPETITION_THRESHOLD for text in texts],
        "empty_rate": [not text.strip() for text in texts],
    }
    return {name: proportion(sum(flags), len(flags)) for name, flags in defects.items()}


def _macro_f1(references: list[str], texts: list[str]) -> Interval:
    expected, predicted = np.array(references), np.array(texts)
    return bootstrap_interval(
        lambda sample: text_metrics.macro_f1(list(expected[sample]), list(predicted[sample])), len(references)
    )


def _label_confusion(references: list[str], texts: list[str]) -> dict[str, dict[str, int]]:
    """The confusion matrix. A label is spelt as in its last reference; an answer that is not a label is ""."""
    labels = {text_metrics.normalize(reference): reference for reference in references}
    return confusion_matrix(
        [
            (labels[text_metrics.normalize(reference)], labels.get(text_metrics.normalize(text), ""))
            for reference, text in zip(references, texts, strict=True)
        ]
    )


def _failures(
    cases: Sequence[Case], answers: Sequence[Answer], scores: dict[str, list[float]]
) -> list[dict[str, object]]:
    """The answers that are furthest from their references, worst first, as rows of the JSON report."""
    order = sorted(range(len(cases)), key=lambda index: scores["chrf"][index])
    failures: list[dict[str, object]] = []
    for index in [index for index in order if not scores["exact_match"][index]][:MAX_FAILURES]:
        case = cases[index]
        failures.append(
            {
                "line": case.line,
                "asked": last_message_text(case),
                "wanted": case.reference,
                "said": answers[index].content,
                "chrf": round(scores["chrf"][index], 3),
            }
        )
    return failures
