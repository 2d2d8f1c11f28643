"""The report of a run as a JSON document of numbers: examples, rejections, diversity, tokens and cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.check.quality.preamble import strip_preamble
from luthier.generate.journal import Journal
from luthier.generate.similarity import distinct_2, gzip_ratio, mean_nearest_similarity
from luthier.generate.teacher import Teacher
from luthier.generate.topics import TopicRun


def topic_report(run: TopicRun) -> dict[str, Any]:
    """The report's part about questions and answers."""
    examples = list(run.examples_by_slot.values())
    questions, answers = [example.question for example in examples], [example.answer for example in examples]
    answer_preambles = sum(strip_preamble(example.answer, example.question) is not None for example in examples)
    question_preambles = sum(strip_preamble(question) is not None for question in questions)
    by_topic = Counter(slot.topic for slot in run.examples_by_slot)
    plan = run.spec.plan
    return {
        "wanted": plan.total,
        "made": len(examples),
        "by_topic": {topic: {"wanted": plan.per_topic, "made": by_topic[topic]} for topic in plan.topics},
        "questions": run.counters.questions.to_dict(len(examples), question_preambles),
        "answers": run.counters.answers.to_dict(len(examples), answer_preambles)
        | {"second_tries": run.counters.retries},
        "lists": {"structured": run.lists.structured, **run.lists.counts},
        "judge": run.counters.judge_summary(),
        "diversity": {"questions": diversity(questions), "answers": diversity(answers)},
        "answer_characters": length_range([len(answer) for answer in answers]),
    }


def diversity(texts: Sequence[str]) -> dict[str, float | None]:
    """Diversity metrics by name, comparable between sets of similar size; None where there are too few texts."""
    metrics = {
        "distinct_2": distinct_2(texts),
        "nearest_likeness": mean_nearest_similarity(texts),
        "gzip_ratio": gzip_ratio(texts),
    }
    return {name: None if value is None else round(value, 4) for name, value in metrics.items()}


def length_range(lengths: Sequence[int]) -> dict[str, int] | None:
    ordered = sorted(lengths)
    if not ordered:
        return None
    return {"shortest": ordered[0], "median": ordered[len(ordered) // 2], "longest": ordered[-1]}


def usage_report(teachers: Sequence[Teacher], journal: Journal) -> dict[str, Any]:
    """The requests and tokens of this run, and the cost of all runs with this journal."""
    counts: Counter[str] = Counter()
    for teacher in teachers:
        counts.update(teacher.counts)
    budget = teachers[0].budget
    lost = [record for record in journal.records() if record.outcome == "lost"]
    at_risk = sum(
        budget.earlier_cost(record.model, record.prompt_tokens, record.completion_tokens, record.price) or 0.0
        for record in lost
    )
    return {
        "requests": {
            "paid_in_this_run": counts["answered"],
            "from_journal": counts["from_journal"],
            "paid_in_all_runs": sum(record.outcome == "answered" for record in journal.records()),
            "retries": counts["retries"],
            "rate_limited": counts["rate_limited"],
            "given_up": counts["given_up"],
            "lost": len(lost),
        },
        "tokens_of_this_run": {"prompt": counts["prompt_tokens"], "completion": counts["completion_tokens"]},
        "usd": {
            "known": budget.is_priced,
            "spent_in_all_runs": round(budget.spent, 6) if budget.is_priced else None,
            "of_it_possibly_billed_without_an_answer": round(at_risk, 6) if budget.is_priced else None,
            "cap": budget.cost_cap,
        },
        "tokens_by_kind": {teacher.model: by_kind(teacher) for teacher in teachers},
    }


def by_kind(teacher: Teacher) -> Mapping[str, dict[str, int]]:
    """Requests and tokens by kind, including replies from the journal."""
    return {kind: dict(vars(usage)) for kind, usage in sorted(teacher.usage.items())}
