"""Compares an old model with its successor on the recorded questions, so the old model is no longer needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from luthier.data.examples.example import to_conversation
from luthier.evaluation.cases import Case, build_cases, merge_definitions
from luthier.evaluation.comparison import Comparison
from luthier.evaluation.model_run import ModelRun, last_message_text
from luthier.evaluation.report import Report, build_report
from luthier.evaluation.sample_answers import Answer, parse_completion, sample_answers
from luthier.evaluation.statistics import Interval, proportion
from luthier.evaluation.text_metrics import exact_match
from luthier.evaluation.text_report import summarize_texts
from luthier.evaluation.tool_call_match import json_equal
from luthier.evaluation.tool_call_report import summarize_tool_calls
from luthier.generate.retries import error_message
from luthier.language import Language, say
from luthier.migrate.judge import Judgement, judged
from luthier.migrate.prices import inference_price
from luthier.migrate.recorded import RecordedModel
from luthier.types.errors import LuthierError

Complete = Callable[[dict[str, Any]], dict[str, Any]]
_MODES = ("full", "none")  # definitions in a request; a question without any belongs to "full"
_HEADLINES = ("call_exact", "chrf")
# Questions that the successor answers worse are listed from this difference in score on, and at most so many.
_MIN_GAP, _MAX_LOST = 0.1, 50


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions that were sent with, or without, function definitions, and the answers of both models."""

    mode: Any
    cases: list[Case]
    old: list[Answer]
    new: list[Answer]


@dataclass(frozen=True, slots=True)
class Usage:
    """Mean tokens per answer, the median latency, and the cost of 1,000 answers (None if the price is unknown)."""

    prompt_tokens: float
    completion_tokens: float
    latency_s: float | None
    usd_per_1000: float | None


@dataclass(frozen=True, slots=True)
class PairReport:
    """The comparison of an old model with its successor.

    Attributes:
        same: The share of questions with equal answers.
        seen_in_training: How many questions come from the training file.
        unused: How many questions have no reference answer, so that they are not scored.
        refused: Why the successor's service refused questions, such as those that exceed its context.
        lost: Questions that the old model answered better.
        judged: The verdicts on text answers; None without a judge.
    """

    old: str
    new: str
    report: Report
    same: Interval
    old_usage: Usage
    new_usage: Usage
    seen_in_training: int = 0
    unused: int = 0
    refused: list[str] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    judged: Judgement | None = None

    @property
    def comparisons(self) -> list[Comparison]:
        """The comparisons of the successor with the old model, each with the same definitions in requests."""
        return [entry for entry in self.report.comparisons if entry.first[0] != entry.second[0]]

    def run(self, model: str, mode: str) -> ModelRun:
        return next(run for run in self.report.runs if (run.model, run.definitions) == (model, mode))

    @property
    def modes(self) -> list[str]:
        return [run.definitions for run in self.report.runs if run.model == self.new]

    def notes(self, language: Language | None = None) -> list[str]:
        """Sentences with verdicts and advice, followed by the limits of the comparison."""
        lines = self.report.advice(language)
        if self.refused:
            lines.append(
                say(
                    f"{len(self.refused)} questions were refused and count as wrong: {self.refused[0]}",
                    f"有 {len(self.refused)} 个问题被拒绝，按错误计：{self.refused[0]}",
                    language,
                )
            )
        if self.seen_in_training:
            lines.append(
                say(
                    f"{self.seen_in_training} of the questions are from the training file: both models have seen them.",
                    f"其中 {self.seen_in_training} 个问题来自训练文件：两个模型都见过。",
                    language,
                )
            )
        if self.unused:
            lines.append(
                say(
                    f"{self.unused} recorded questions have no reference and count only for equal answers.",
                    f"有 {self.unused} 个录制的问题在数据中没有参考回答，只用来比较两个模型的回答是否相同。",
                    language,
                )
            )
        return lines

    def to_dict(self, language: Language | None = None) -> dict[str, Any]:
        return {
            "old": self.old,
            "new": self.new,
            "same_answers": asdict(self.same),
            "usage": {"old": asdict(self.old_usage), "new": asdict(self.new_usage)},
            "seen_in_training": self.seen_in_training,
            "without_reference": self.unused,
            "refused": self.refused,
            "lost": self.lost,
            "judged": asdict(self.judged) if self.judged else None,
            "notes": self.notes(language),
            "report": self.report.to_dict(language),
        }


def compare(
    model: RecordedModel,
    successor: str,
    complete: Complete,
    *,
    limit: int | None = None,
    max_tokens: int | None = None,
    concurrency: int = 8,
    judge: str | None = None,
    on_answer: Callable[[], None] | None = None,
) -> PairReport:
    """Sends the recorded questions to the successor and compares its answers with the recorded ones.

    Args:
        complete: Sends the body of a request and returns the response.
        limit: Compare at most so many questions; None for all.
        max_tokens: The token limit of an answer; None for the limit of the recording.
        judge: A model of the same service that compares text answers; calls are compared exactly.
        on_answer: Called after each answer, from any thread.

    Raises:
        LuthierError: No answer of the old model was recorded, or no question has a reference answer.
    """
    lines = _limited(list(model.answers), limit)
    if not lines:
        raise LuthierError(say(f"No answer of {model.name} was recorded.", f"没有录制 {model.name} 的任何回答。"))
    max_tokens = max_tokens or max(_max_tokens(line["request"]) for line in lines) or None
    completer = _Completer(complete)
    sampler = _Sampler(successor, completer, max_tokens, concurrency, on_answer)
    question_sets = [entry for mode in _MODES if (entry := sampler.question_set(mode, lines))]
    scored = [_with_reference(entry) for entry in question_sets]
    scored = [entry for entry in scored if entry.cases]
    if not scored:
        raise LuthierError(
            say(
                f"The recorded questions of {model.name} have no reference answers to score with.",
                f"{model.name} 录制的问题没有可用来评分的参考回答。",
            )
        )
    has_calls = any(case.expected_calls for entry in scored for case in entry.cases)
    if not has_calls:
        scored = scored[:1]
    runs = [_summary(successor, entry, entry.new, calls=has_calls) for entry in scored]
    runs += [_summary(model.name, entry, entry.old, calls=has_calls) for entry in scored]
    report = build_report("functions" if has_calls else "text", model.name, len(scored[0].cases), runs)
    equal = [_alike(old, new) for entry in question_sets for old, new in zip(entry.old, entry.new, strict=True)]
    price = inference_price(model.entry)
    return PairReport(
        model.name,
        successor,
        report,
        proportion(sum(equal), len(equal)),
        _usage([answer for entry in question_sets for answer in entry.old], price.cost if price else None),
        _usage([answer for entry in question_sets for answer in entry.new], lambda prompt, completion: 0.0),
        seen_in_training=sum(line.get("source") == "training" for line in lines),
        unused=len(lines) - sum(len(_with_reference(entry).cases) for entry in question_sets),
        refused=completer.refused,
        lost=_lost(scored, runs),
        judged=_judged(judge, complete, question_sets[0], concurrency) if judge and not has_calls else None,
    )


def _judged(judge: str, complete: Complete, entry: QuestionSet, concurrency: int) -> Judgement:
    """The judge's verdicts on all questions, including those without a reference answer."""
    return judged(judge, _Completer(complete), entry.cases, entry.old, entry.new, concurrency=concurrency)


def question_count(model: RecordedModel, limit: int | None) -> int:
    """How many questions `compare` sends to the successor."""
    return len(_limited(list(model.answers), limit))


def _limited(lines: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """Up to `limit` lines, evenly spaced in an order that depends only on the questions."""
    if limit is None or len(lines) <= limit:
        return lines
    lines = sorted(lines, key=lambda line: str(line.get("custom_id")))
    return [lines[number * len(lines) // limit] for number in range(limit)]


@dataclass(frozen=True, slots=True)
class _Completer:
    """Sends requests. A question that the service refuses is answered with an empty text; other errors are raised."""

    complete: Complete
    refused: list[str] = field(default_factory=list)

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        import openai

        try:
            return self.complete(body)
        except openai.BadRequestError as error:
            self.refused.append(error_message(error))
            return {"choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "stop"}]}


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Samples the answers of the successor."""

    successor: str
    complete: Complete
    max_tokens: int | None
    concurrency: int
    on_answer: Callable[[], None] | None

    def question_set(self, mode: Any, lines: Sequence[dict[str, Any]]) -> QuestionSet | None:
        """Samples the answers of the successor in one mode; None if there is no question of this mode."""
        lines = [line for line in lines if (line.get("definitions") or "full") == mode]
        if not lines:
            return None
        cases = list(build_cases(_example(line, number) for number, line in enumerate(lines, start=1)))
        answers = sample_answers(
            self.complete,
            self.successor,
            cases,
            "full",  # sends the definitions of a question, if it has any
            max_tokens=self.max_tokens,
            concurrency=self.concurrency,
            on_answer=self.on_answer,
        )
        return QuestionSet(mode, cases, [_old_answer(line) for line in lines], answers)


def _example(line: dict[str, Any], number: int) -> Any:
    """A question with its reference answer; without one, an empty reference that is not scored."""
    request = line["request"]
    messages = request.get("messages") or [{"role": "user", "content": request.get("prompt")}]
    reference = line.get("reference") or {"role": "assistant", "content": None}
    return to_conversation(request, [*messages, reference], number)


def _max_tokens(request: dict[str, Any]) -> int:
    return int(request.get("max_completion_tokens") or request.get("max_tokens") or 0)


def _old_answer(line: dict[str, Any]) -> Answer:
    response, latency_s = line["response"], float(line.get("latency_s") or 0.0)
    choice = response["choices"][0]
    if "message" in choice:
        return parse_completion(response, latency_s)
    message = {"role": "assistant", "content": choice.get("text")}
    return parse_completion({**response, "choices": [{**choice, "message": message}]}, latency_s)


def _with_reference(entry: QuestionSet) -> QuestionSet:
    rows = zip(entry.cases, entry.old, entry.new, strict=True)
    comparable = [row for row in rows if row[0].expected_calls or row[0].reference is not None]
    return QuestionSet(
        entry.mode, [row[0] for row in comparable], [row[1] for row in comparable], [row[2] for row in comparable]
    )


def _summary(model: str, entry: QuestionSet, answers: Sequence[Answer], *, calls: bool) -> ModelRun:
    if calls:
        return summarize_tool_calls(model, entry.mode, entry.cases, answers, merge_definitions(entry.cases))
    return summarize_texts(model, entry.cases, answers)


def _alike(old: Answer, new: Answer) -> bool:
    """Whether two answers have equal calls in the same order, or texts that differ only in case and white space."""
    if old.calls or new.calls:
        first, second = ([[call.name, call.arguments] for call in answer.calls] for answer in (old, new))
        return json_equal(first, second)
    return exact_match(old.content or "", new.content or "")


def _usage(answers: Sequence[Answer], cost: Callable[[int, int], float] | None) -> Usage:
    """The usage of answers that were not refused; `cost` returns the US dollars for prompt and completion tokens."""
    answers = [answer for answer in answers if answer.prompt_tokens] or answers
    prompt = sum(answer.prompt_tokens for answer in answers) / len(answers)
    completion = sum(answer.completion_tokens for answer in answers) / len(answers)
    latencies = sorted(answer.latency_s for answer in answers if answer.latency_s)
    dollars = sum(cost(answer.prompt_tokens, answer.completion_tokens) for answer in answers) if cost else None
    median = latencies[len(latencies) // 2] if latencies else None
    return Usage(prompt, completion, median, None if dollars is None else 1000 * dollars / len(answers))


def _lost(question_sets: Sequence[QuestionSet], runs: Sequence[ModelRun]) -> list[dict[str, Any]]:
    """The questions that the old model answered better, the largest difference first, with both answers as text."""
    rows: list[tuple[float, dict[str, Any]]] = []
    for entry, new, old in zip(question_sets, runs, runs[len(question_sets) :], strict=False):
        metric = next(name for name in _HEADLINES if name in new.scores)
        for index, case in enumerate(entry.cases):
            gap = old.scores[metric][index] - new.scores[metric][index]
            if gap > _MIN_GAP:
                expected = [{"name": call.name, "arguments": call.arguments} for call in case.expected_calls]
                row = {
                    "definitions": entry.mode,
                    "question": last_message_text(case),
                    "reference": _calls_text(expected) or case.reference,
                    "old": _answer_text(entry.old[index]),
                    "new": _answer_text(entry.new[index]),
                }
                rows.append((gap, row))
    return [row for _, row in sorted(rows, key=lambda row: -row[0])[:_MAX_LOST]]


def _answer_text(answer: Answer) -> str:
    return _calls_text([{"name": call.name, "arguments": call.text} for call in answer.calls]) or answer.content or "–"


def _calls_text(calls: Sequence[dict[str, Any]]) -> str:
    """One line per call, in the form `name(arguments)`."""
    values = ((call["name"], call["arguments"]) for call in calls)
    return "\n".join(
        f"{name}({text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)})" for name, text in values
    )
