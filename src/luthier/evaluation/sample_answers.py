"""Questions to a model, several at a time, and its answers as they came. Knows nothing about what is right."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luthier.data.examples.tool_definitions import Shown
from luthier.evaluation.cases import Case
from luthier.evaluation.tool_call_match import Predicted

# The body of a chat completion in, the completion as a dictionary out; raises what the service answers.
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """`latency_s` includes the wait in the service's queue; tokens are those the service counted."""

    content: str | None
    calls: list[Predicted] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0


def ask_all(
    ask: Ask,
    model: str,
    asked: Sequence[Case],
    shown: Shown,
    *,
    max_tokens: int | None = None,
    concurrency: int = 8,
    on_answer: Callable[[], None] | None = None,
) -> list[Answer]:
    """The answers in the order of the cases. The first error stops the asking and is raised."""

    def one(case: Case) -> Answer:
        body = case.request(model, shown)
        if max_tokens:
            body["max_tokens"] = max_tokens
        started = time.perf_counter()
        answer = read(ask(body), time.perf_counter() - started)
        if on_answer:
            on_answer()
        return answer

    with ThreadPoolExecutor(concurrency) as pool:
        waiting = [pool.submit(one, case) for case in asked]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read(completion: dict[str, Any], latency_s: float = 0.0) -> Answer:
    """A chat completion's first choice, with calls in either form."""
    choice = completion["choices"][0]
    message, usage = choice["message"], completion.get("usage") or {}
    return Answer(
        message.get("content"),
        [Predicted.read(call["name"], call["arguments"]) for call in _calls(message)],
        choice.get("finish_reason") or "stop",
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        latency_s,
    )


def _calls(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield from (call["function"] for call in message.get("tool_calls") or [] if call.get("function"))
    if message.get("function_call"):
        yield message["function_call"]
