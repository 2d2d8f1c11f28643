"""Reports on successors, without a server: the successor is a function."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from luthier.evaluation.cases import Case
from luthier.evaluation.sample_answers import Answer
from luthier.migrate.judge import Judgement, judged
from luthier.migrate.pair_page import judged_text, metric_rows, render_html, usage_rows
from luthier.migrate.pair_report import PairReport, compare
from luthier.migrate.recorded import RecordedModel
from luthier.types.errors import LuthierError

OLD, NEW = "ft:gpt-4o-mini-2024-07-18:acme:support:AAAA1111", "ft:gpt-4o-mini-2024-07-18:personal:support:bbbb2222"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def completion(message: dict[str, Any], prompt_tokens: int = 10) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 5}}


def line(number: int, answer: dict[str, Any], reference: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    request = {"model": OLD, "messages": [{"role": "user", "content": f"q{number}"}], "max_completion_tokens": 64}
    if fields.get("definitions") == "full":
        request["tools"] = [TOOL]
    reference = {"role": "assistant", **reference} if reference else None
    return {"custom_id": f"q-{number}", "request": request, "response": completion(answer), "reference": reference,
            "latency_s": 0.5, **fields}  # fmt: skip


def texts(count: int = 12) -> RecordedModel:
    """Every answer of the old model is right."""
    answers = [{"content": f"answer {number}"} for number in range(count)]
    return RecordedModel(OLD, lines=tuple(line(n, answer, answer) for n, answer in enumerate(answers)))


def test_a_worse_successor_is_called_so() -> None:
    bodies: list[dict[str, Any]] = []

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return completion({"content": "wrong"}, prompt_tokens=20)

    pair = compare(texts(), NEW, complete, concurrency=1)
    assert {body["model"] for body in bodies} == {NEW}
    assert all("logprobs" not in body and body["max_tokens"] == 64 for body in bodies)
    assert pair.same.value == 0
    difference = next(entry.difference for entry in pair.comparisons if entry.metric == "exact_match")
    assert difference.value == -1
    assert difference.high < 0
    assert any("is worse than" in note for note in pair.notes("en"))
    assert {(row["old"] == row["reference"], row["new"]) for row in pair.lost} == {(True, "wrong")}
    assert pair.new_usage.prompt_tokens == 20
    assert pair.old_usage.usd_per_1000 == pytest.approx(1000 * (10 * 0.3 + 5 * 1.2) / 1e6)


def test_equal_answers_are_no_difference() -> None:
    pair = compare(
        texts(), NEW, lambda body: completion({"content": body["messages"][0]["content"].replace("q", "answer ")})
    )
    assert pair.same.value == 1
    assert not any(entry.difference.significant for entry in pair.comparisons)
    assert pair.lost == []


def test_calls_are_compared_with_and_without_definitions() -> None:
    def lines(definitions: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        return [line(n, answer, {"tool_calls": [CALL]}, definitions=definitions) for n in range(8)]

    model = RecordedModel(OLD, lines=(*lines("full", {"tool_calls": [CALL]}), *lines("none", {"content": "no call"})))
    pair = compare(model, NEW, lambda body: completion({"tool_calls": [CALL]}), judge="not asked about calls")
    assert pair.judged is None
    values = {(run.model, run.definitions): run.metrics["call_exact"].value for run in pair.report.runs}
    assert values == {(NEW, "full"): 1, (NEW, "none"): 1, (OLD, "full"): 1, (OLD, "none"): 0}
    assert pair.same.value == 0.5


def _refuse(body: dict[str, Any]) -> dict[str, Any]:
    request = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")
    error = {"message": "This model's maximum context length is 2048 tokens.", "code": "context_length_exceeded"}
    raise openai.BadRequestError(error["message"], response=httpx.Response(400, request=request), body=error)


def test_a_question_that_is_refused_counts_as_wrong_and_is_told() -> None:
    answers = iter([_refuse, *[lambda body: completion({"content": "answer"})] * 11])
    pair = compare(texts(), NEW, lambda body: next(answers)(body), concurrency=1)
    assert len(pair.refused) == 1
    assert any("maximum context length" in note for note in pair.notes("en"))
    assert pair.new_usage.prompt_tokens == 10


def test_questions_without_references_count_for_equal_answers_alone() -> None:
    lines = [line(n, {"content": "yes"}, {"content": "yes"} if n < 3 else None) for n in range(5)]
    pair = compare(RecordedModel(OLD, lines=tuple(lines)), NEW, lambda body: completion({"content": "Yes."}))
    assert (pair.report.examples, pair.unused, pair.same.n) == (3, 2, 5)
    for none in (lines[3:], []):
        with pytest.raises(LuthierError):
            compare(RecordedModel(OLD, lines=tuple(none)), NEW, lambda body: completion({"content": "yes"}))


def _judged(reply: Callable[[str, str], str]) -> Judgement:
    """Twelve questions, of which every second has two answers that are alike; the judge replies to two answers."""

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        assert body["response_format"]["json_schema"]["strict"]
        assert "# Reference answer" in text
        first, second = text.split("# Answer A\n\n")[1].split("\n\n# Answer B\n\n")
        return completion({"content": reply(first, second)})

    messages = [{"role": "user", "content": "question"}]
    cases = [Case(number, messages, [], "answer", None, None) for number in range(12)]
    old = [Answer("answer", [], "stop", 10, 5, 0.1)] * 12
    new = [replace(answer, content="Answer" if number % 2 else "new") for number, answer in enumerate(old)]
    return judged("judge", complete, cases, old, new)


@pytest.mark.parametrize(
    ("reply", "old_better", "new_better", "swayed", "unread"),
    [
        (lambda first, second: '{"better": "A"}' if first.startswith("new") else '{"better": "B"}', 0, 6, 0, 0),
        (lambda first, second: '{"better": "A"}' if second.startswith("new") else '{"better": "B"}', 6, 0, 0, 0),
        (lambda first, second: '{"better": "A"}', 0, 0, 6, 0),
        (lambda first, second: '{"better": "equal"}', 0, 0, 0, 0),
        (lambda first, second: "A, I think", 0, 0, 0, 6),
        (lambda first, second: '{"better": "neither"}' if first < second else "[]", 0, 0, 0, 6),
    ],
)
def test_a_judge_is_asked_in_both_orders(
    reply: Callable[[str, str], str], old_better: int, new_better: int, swayed: int, unread: int
) -> None:
    result = _judged(reply)
    counts = (result.old_better, result.new_better, result.swayed, result.unread)
    assert counts == (old_better, new_better, swayed, unread)
    assert old_better + new_better + result.equal == result.difference.n == 12
    assert result.difference.value == (new_better - old_better) / 12


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_escapes_answers_and_has_every_figure(language: Any) -> None:
    pair: PairReport = compare(texts(), NEW, lambda body: completion({"content": "<script>"}), judge="judge")
    page = render_html([pair], language)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert judged_text(pair, language) in page
    for title, *_ in [*metric_rows(pair, "full", language), *usage_rows(pair, language)]:
        assert title in page
