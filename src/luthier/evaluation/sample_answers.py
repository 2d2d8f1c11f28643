"""Samples a model's answers to evaluation cases, several requests at a time."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luthier.data.examples.tool_definitions import DefinitionDetail
from luthier.evaluation.cases import Case
from luthier.evaluation.tool_call_match import PredictedCall

# The body of a chat completion request → the completion. Raises the service's errors.
Complete = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """A model's answer. `latency_s`: in seconds, including the wait in the service's queue. Token counts are those that
    the service reports.
    """

    content: str | None
    calls: list[PredictedCall] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0


def sample_answers(
    complete: Complete,
    model: str,
    cases: Sequence[Case],
    definitions: DefinitionDetail,
    *,
    max_tokens: int | None = None,
    concurrency: int = 8,
    on_answer: Callable[[], None] | None = None,
) -> list[Answer]:
    """The answers in the order of the cases. The first error cancels the remaining requests and is raised."""

    def sample(case: Case) -> Answer:
        body = case.request(model, definitions)
        if max_tokens:
            body["max_tokens"] = max_tokens
        started = time.perf_counter()
        answer = parse_completion(complete(body), time.perf_counter() - started)
        if on_answer:
            on_answer()
        return answer

    with ThreadPoolExecutor(concurrency) as pool:
        pending = [pool.submit(sample, case) for case in cases]
        try:
            return [future.result() for future in pending]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def parse_completion(completion: dict[str, Any], latency_s: float = 0.0) -> Answer:
    """The answer in the first choice of a chat completion; calls may be in either form."""
    choice = completion["choices"][0]
    message, usage = choice["message"], completion.get("usage") or {}
    return Answer(
        message.get("content"),
        [PredictedCall.parse(call["name"], call["arguments"]) for call in _calls(message)],
        choice.get("finish_reason") or "stop",
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        latency_s,
    )


def _calls(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield from (call["function"] for call in message.get("tool_calls") or [] if call.get("function"))
    if message.get("function_call"):
        yield message["function_call"]
