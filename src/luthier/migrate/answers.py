"""Records the answers of old models under a cost cap, without paying twice for an answer.

The journal of `luthier.generate` records every request before it is sent, and every reply before it is used. A request
that was pending when the process was killed is lost and sent once more; the report counts such requests.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import openai

from luthier.generate.budget import Budget, Price
from luthier.generate.errors import CostCapError, JournalError
from luthier.generate.journal import Journal, TeacherReply
from luthier.generate.limits import RateLimits
from luthier.generate.retries import MAX_ATTEMPTS, error_message, is_permanent, may_be_billed, retry_delay_s
from luthier.language import say
from luthier.migrate.account import Account, is_model_gone, to_json
from luthier.migrate.folder import JsonLines
from luthier.migrate.questions import Question

if TYPE_CHECKING:
    from openai import BaseModel

_OPTIONAL_PARAMETERS = ("logprobs", "top_logprobs", "temperature", "seed")
_MAX_LOST = 2  # attempts per question that may be billed although they brought no reply


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How to request answers.

    Attributes:
        max_tokens: The token limit of an answer.
        top_logprobs: How many alternatives are recorded for each token.
        cost_cap: In US dollars, over all runs with the folder; None for no cap.
        requests_per_minute: None for no limit.
    """

    max_tokens: int = 1024
    top_logprobs: int = 5
    cost_cap: float | None = None
    concurrency: int = 4
    requests_per_minute: float | None = None


class StoppedError(Exception):
    """No further question is sent to any model, or, unless `everywhere`, to one model; `reason` is the error's body."""

    def __init__(self, reason: dict[str, Any], *, everywhere: bool) -> None:
        super().__init__(reason["message"])
        self.reason, self.everywhere = reason, everywhere


@dataclass
class ModelAnswers:
    """Counts of a model's questions; `stopped` is the error for which its remaining questions were not sent."""

    model: str
    questions: int = 0
    answered: int = 0
    failed: int = 0
    stopped: dict[str, Any] | None = None

    @property
    def missing(self) -> int:
        return self.questions - self.answered


@dataclass
class _Target:
    """A model that is asked.

    Attributes:
        name: The name in requests, such as that of a deployment.
        lines: The recorded answers.
        rejected: Parameters that the model has rejected.
        stopped: Why no further question is sent to it; None while it answers.
    """

    model: str
    name: str
    lines: JsonLines
    rejected: set[str] = field(default_factory=set)
    stopped: StoppedError | None = None


class AnswerRecorder:
    """Sends questions to models and records the answers. Not thread-safe: it belongs to one event loop."""

    def __init__(
        self,
        account: Account,
        journal: Journal,
        prices: Mapping[str, Price | None],
        options: AnswerOptions,
        *,
        progress: Callable[[int, float], None] = lambda answers, dollars: None,
    ) -> None:
        self._client, self._journal, self._options, self._progress = account.client, journal, options, progress
        self.budget = budget_of(journal, prices, options.cost_cap)
        self._limits = RateLimits(options.concurrency, options.requests_per_minute)
        self._stopped: StoppedError | None = None
        self.counts: Counter[str] = Counter()

    async def record(self, model: str, name: str, questions: Sequence[Question], lines: JsonLines) -> ModelAnswers:
        """Sends the questions that have no answer yet, and returns the counts of the model.

        The first question is sent alone, because its error may show that the model no longer answers.
        """
        target = _Target(model, name, lines, stopped=self._stopped)
        pending = [question for question in questions if not _is_answered(lines, question)]
        for batch in (pending[:1], pending[1:]):
            await self._ask_all(target, batch)
        if target.stopped:
            self._mark_unsent(target, pending)
        if lines.has_superseded_lines:
            lines.rewrite()
        answered = sum(_is_answered(lines, question) for question in questions)
        failed = sum(bool(lines.entries.get(question.id, {}).get("error")) for question in questions)
        reason = target.stopped.reason if target.stopped else None
        return ModelAnswers(model, len(questions), answered, failed, reason)

    async def _ask_all(self, target: _Target, questions: Iterable[Question]) -> None:
        tasks = [asyncio.create_task(self._ask(target, question)) for question in questions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, target: _Target, question: Question) -> None:
        """Sends a question and records its response or error; a reply in the journal is recorded without a request."""
        key = f"{target.model} {question.id}"
        recorded = self._journal.find_reply(key)
        if recorded:  # an earlier run was killed after the reply and before it wrote the answer
            self._write(target, question, response=json.loads(recorded.text))
            self.counts["from_journal"] += 1
            return
        try:
            response, latency_s = await self._response(target, question, key)
        except StoppedError as error:
            target.stopped = error
            if error.everywhere:
                self._stopped = error
        except openai.APIError as error:
            self._write(target, question, error=_error_body(error))
        else:
            self._write(target, question, response=response, latency_s=latency_s)
            self.counts["answered"] += 1
        self._progress(self.counts["answered"], self.budget.spent)

    async def _response(self, target: _Target, question: Question, key: str) -> tuple[dict[str, Any], float]:
        """The response to a question and its latency in seconds, with retries.

        Raises:
            StoppedError: Further questions are pointless.
            openai.APIError: This question failed.
        """
        lost = 0
        for attempt in range(MAX_ATTEMPTS + len(_OPTIONAL_PARAMETERS)):
            try:
                return await self._attempt(target, question, key)
            except openai.APIError as error:
                if isinstance(error, openai.BadRequestError) and _drop_parameter(target, error):
                    continue
                if stop := _stop_reason(error, target.model):
                    raise stop from error
                lost += may_be_billed(error)
                if is_permanent(error) or attempt >= MAX_ATTEMPTS - 1 or lost >= _MAX_LOST:
                    raise
                await self._back_off(error, attempt)
        raise AssertionError("unreachable")

    async def _attempt(self, target: _Target, question: Question, key: str) -> tuple[dict[str, Any], float]:
        """Sends a question once: reserves its cost, records it, sends it, and settles the cost.

        Returns the response and its latency in seconds.
        """
        model, max_tokens = target.model, self._options.max_tokens
        prompt_tokens = question.max_prompt_tokens
        max_cost = self.budget.cost(model, prompt_tokens, max_tokens)
        async with self._limits.permit(prompt_tokens + max_tokens):
            if stopped := target.stopped or self._stopped:
                raise stopped
            try:
                await self.budget.reserve(max_cost)
                price = self.budget.price(model)
                number = self._journal.record_sent(key, question.source, model, prompt_tokens, max_tokens, price)
            except (CostCapError, JournalError) as error:
                code = "cost_cap" if isinstance(error, CostCapError) else "journal"
                raise StoppedError({"status": None, "code": code, "message": str(error)}, everywhere=True) from error
            self.counts["sent"] += 1
            started = time.perf_counter()
            try:
                response = to_json(await self._send(target, question))
                latency_s = round(time.perf_counter() - started, 3)
                reply = _reply(response, prompt_tokens, max_tokens)
            except BaseException as error:
                billed = may_be_billed(error)
                self._journal.record_failure(number, billed=billed)
                self.counts["lost" if billed else "refused"] += 1
                await self.budget.settle(max_cost, max_cost if billed else 0.0)
                raise
            self._journal.record_reply(number, reply)
        await self.budget.settle(max_cost, self.budget.cost(model, reply.prompt_tokens, reply.completion_tokens))
        return response, latency_s

    async def _send(self, target: _Target, question: Question) -> BaseModel:
        parameters = self._parameters(target, question)
        completions = self._client.completions if "prompt" in parameters else self._client.chat.completions
        response: BaseModel = await completions.create(**parameters)
        return response

    def _parameters(self, target: _Target, question: Question) -> dict[str, Any]:
        parameters: dict[str, Any] = {"temperature": 0, "seed": 0}
        if question.endpoint == "/v1/completions":
            parameters |= {"logprobs": self._options.top_logprobs, "max_tokens": self._options.max_tokens}
        else:
            parameters |= {"logprobs": True, "top_logprobs": self._options.top_logprobs}
            parameters["max_completion_tokens"] = self._options.max_tokens
        if "max_completion_tokens" in target.rejected and "max_completion_tokens" in parameters:
            parameters["max_tokens"] = parameters.pop("max_completion_tokens")
        sent = {name: value for name, value in parameters.items() if name not in target.rejected}
        return {"model": target.name, **question.body, **sent}

    async def _back_off(self, error: openai.APIError, attempt: int) -> None:
        """Waits before a retry. A rate limit delays all requests, other failures only this one."""
        delay_s = retry_delay_s(error, attempt, random.random())  # noqa: S311 - jitter
        self.counts["retries"] += 1
        if isinstance(error, openai.RateLimitError):
            self._limits.pause(delay_s)
        else:
            await asyncio.sleep(delay_s)

    def _write(
        self,
        target: _Target,
        question: Question,
        *,
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        latency_s: float | None = None,
    ) -> None:
        line = _line(self._parameters(target, question), target.model, question, response, error)
        target.lines.append({**line, "latency_s": latency_s})

    def _mark_unsent(self, target: _Target, questions: Iterable[Question]) -> None:
        """Records the remaining questions with the reason why they were not sent; a later run sends them."""
        assert target.stopped  # noqa: S101 - checked by the caller
        target.lines.append(
            *(
                _line(self._parameters(target, question), target.model, question, None, target.stopped.reason)
                for question in questions
                if question.id not in target.lines.entries
            )
        )


def budget_of(journal: Journal, prices: Mapping[str, Price | None], cost_cap: float | None = None) -> Budget:
    """A budget that includes the cost of earlier runs with the folder."""
    budget = Budget(prices, cost_cap)
    for record in journal.records():
        if record.outcome != "refused":
            budget.add_earlier(record.model, record.prompt_tokens, record.completion_tokens, record.price)
    return budget


def _line(
    request: dict[str, Any],
    model: str,
    question: Question,
    response: dict[str, Any] | None,
    error: dict[str, Any] | None,
) -> dict[str, Any]:
    """A line of `answers/`, in the format that the README of a recording describes."""
    return {
        "custom_id": question.id,
        "model": model,
        "source": question.source,
        "definitions": question.definitions,
        "url": question.endpoint,
        "request": request,
        "reference": question.reference,
        "response": response,
        "error": error,
        "recorded_at": int(time.time()),
    }


def _is_answered(lines: JsonLines, question: Question) -> bool:
    return bool(lines.entries.get(question.id, {}).get("response"))


def _reply(response: dict[str, Any], max_prompt: int, max_completion: int) -> TeacherReply:
    """The response in the form that the journal records. Without `usage`, its tokens count at the upper bounds."""
    usage = response.get("usage") or {}
    choices = response.get("choices") or [{}]
    return TeacherReply(
        text=json.dumps(response, ensure_ascii=True),
        finish_reason=choices[0].get("finish_reason") or "stop",
        prompt_tokens=usage.get("prompt_tokens") or max_prompt,
        completion_tokens=usage.get("completion_tokens") or max_completion,
    )


def _error_body(error: openai.APIError) -> dict[str, Any]:
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    return {"status": status, "code": error.code, "message": error_message(error)}


def _drop_parameter(target: _Target, error: openai.BadRequestError) -> bool:
    """Drops or renames the parameter that the error names, and returns whether the request should be sent again.

    Some models reject log-probabilities or temperature, and older services call the token limit `max_tokens`.
    """
    name = error.param
    if name not in (*_OPTIONAL_PARAMETERS, "max_completion_tokens") or name in target.rejected:
        return False
    target.rejected |= {"logprobs", "top_logprobs"} if name in ("logprobs", "top_logprobs") else {name}
    return True


def _stop_reason(error: openai.APIError, model: str) -> StoppedError | None:
    """A StoppedError if further questions to this model, or to any with this key, would fail too; else None."""
    body = _error_body(error)
    if isinstance(error, openai.AuthenticationError):
        message = say(
            f"The key must not use models ({body['message']}). Use a key with that permission, and run the same "
            "command again.",
            f"此密钥不能调用模型（{body['message']}）。请换用有权限的密钥，再运行同一条命令。",
        )
        return StoppedError({**body, "message": message}, everywhere=True)
    if isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
        return StoppedError(body, everywhere=True)
    if is_model_gone(error) or isinstance(error, openai.PermissionDeniedError):
        message = say(f"{model} does not answer: {body['message']}", f"{model} 不再回答：{body['message']}")
        return StoppedError({**body, "message": message}, everywhere=False)
    return None
