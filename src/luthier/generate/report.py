"""What a run came to, as one document: made and missing, what was wrong, how varied, tokens and money.

Numbers only; the sentences around them are the command's. Knows finished runs and asks nobody.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.check.quality.preamble import strip_preamble
from luthier.generate.journal import Journal
from luthier.generate.similarity import distinct_2, gzip_ratio, nearest_likeness
from luthier.generate.teacher import Teacher
from luthier.generate.topics import TopicsRun


def topics_report(run: TopicsRun) -> dict[str, Any]:
    """The part that is about questions and answers."""
    made = list(run.made.values())
    questions, answers = [one.question for one in made], [one.answer for one in made]
    left = sum(strip_preamble(one.answer, one.question) is not None for one in made)
    left_in_questions = sum(strip_preamble(question) is not None for question in questions)
    by_topic = Counter(slot.topic for slot in run.made)
    plan = run.wish.plan
    return {
        "wanted": plan.total,
        "made": len(made),
        "by_topic": {topic: {"wanted": plan.per_topic, "made": by_topic[topic]} for topic in plan.topics},
        "questions": run.tally.questions.to_dict(len(made), left_in_questions),
        "answers": run.tally.answers.to_dict(len(made), left) | {"second_tries": run.tally.second_tries},
        "lists": {"structured": run.lists.structured, **run.lists.counts},
        "judge": run.tally.judged(),
        "diversity": {"questions": diversity(questions), "answers": diversity(answers)},
        "answer_characters": spread([len(answer) for answer in answers]),
    }


def diversity(texts: Sequence[str]) -> dict[str, float | None]:
    """Figures for sets of like size; None where there are too few texts."""
    figures = {
        "distinct_2": distinct_2(texts),
        "nearest_likeness": nearest_likeness(texts),
        "gzip_ratio": gzip_ratio(texts),
    }
    return {name: None if value is None else round(value, 4) for name, value in figures.items()}


def spread(lengths: Sequence[int]) -> dict[str, int] | None:
    ordered = sorted(lengths)
    if not ordered:
        return None
    return {"shortest": ordered[0], "median": ordered[len(ordered) // 2], "longest": ordered[-1]}


def usage_report(teachers: Sequence[Teacher], journal: Journal) -> dict[str, Any]:
    """Requests and tokens of this run, and the money of all runs on this journal."""
    counts: Counter[str] = Counter()
    for teacher in teachers:
        counts.update(teacher.counts)
    budget = teachers[0].budget
    lost = [entry for entry in journal.entries() if entry.outcome == "lost"]
    at_risk = sum(
        budget.earlier_cost(entry.model, entry.prompt_tokens, entry.completion_tokens, entry.price) or 0.0
        for entry in lost
    )
    return {
        "requests": {
            "paid_in_this_run": counts["answered"],
            "from_journal": counts["from_journal"],
            "paid_in_all_runs": sum(entry.outcome == "answered" for entry in journal.entries()),
            "retries": counts["retries"],
            "rate_limited": counts["rate_limited"],
            "given_up": counts["given_up"],
            "lost": len(lost),
        },
        "tokens_of_this_run": {"prompt": counts["prompt_tokens"], "completion": counts["completion_tokens"]},
        "usd": {
            "known": budget.known,
            "spent_in_all_runs": round(budget.spent, 6) if budget.known else None,
            "of_it_possibly_billed_without_an_answer": round(at_risk, 6) if budget.known else None,
            "cap": budget.cap,
        },
        "tokens_by_kind": {teacher.model: by_kind(teacher) for teacher in teachers},
    }


def by_kind(teacher: Teacher) -> Mapping[str, dict[str, int]]:
    """Requests and tokens by what they were for, answers out of the journal included."""
    return {kind: dict(vars(usage)) for kind, usage in sorted(teacher.usage.items())}
