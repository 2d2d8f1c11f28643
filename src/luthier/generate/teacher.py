"""Requests to one model behind an `openai.AsyncOpenAI` client: journal, budget, rate limits, retries, circuit breaker.

The client's own retries are switched off, since each attempt must be reserved, recorded and settled.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai

from luthier.generate.budget import Budget
from luthier.generate.circuit_breaker import CircuitBreaker
from luthier.generate.errors import (
    ProbeCompleteError,
    RequestFailedError,
    RequestRejectedError,
    RunStoppedError,
    TeacherRejectedError,
)
from luthier.generate.journal import Journal, TeacherReply, TeacherRequest
from luthier.generate.limits import RateLimits
from luthier.generate.reply_text import shortened, text_and_reasoning
from luthier.generate.retries import MAX_ATTEMPTS, error_message, is_permanent, may_be_billed, retry_delay_s
from luthier.language import say

_GIVEN_UP = "given up "  # this and the key of a request are the name of a fact in the journal
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value")
_TOKENS_PER_MESSAGE = 16  # a generous bound for what a chat template adds around a message


@dataclass
class Usage:
    """The number of requests of one kind, and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: TeacherReply) -> None:
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens


class Teacher:
    """Sends requests to one model, or answers them from the journal. Once the run has stopped, nothing is sent."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        journal: Journal,
        budget: Budget,
        limits: RateLimits,
        *,
        max_consecutive_failures: int = 10,
        max_requests: int | None = None,
        on_reply: Callable[[], None] = lambda: None,
    ) -> None:
        """Sets up the requests.

        Args:
            max_consecutive_failures: The run stops after so many.
            max_requests: The run stops before it would send more; replies from the journal do not count. None for no
                limit.
            on_reply: Called after each reply.
        """
        self.model, self.journal, self.budget = model, journal, budget
        self._client, self._limits, self._on_reply = client.with_options(max_retries=0), limits, on_reply
        self._breaker, self._max_requests = CircuitBreaker(max_consecutive_failures), max_requests
        self._given_up: dict[str, str] = {}  # request key → error; recorded once a later request succeeds
        self._parameter_names: dict[str, str | None] = {}  # parameter → the model's name for it, None if unsupported
        self.counts: Counter[str] = Counter()  # requests by outcome, and tokens, without replies from the journal
        self.usage: dict[str, Usage] = defaultdict(Usage)  # by the first part of the slot, including the journal

    @property
    def stopped(self) -> RunStoppedError | None:
        """The error that stopped the run; None while it continues."""
        return self._breaker.stopped

    async def ask(self, request: TeacherRequest) -> TeacherReply:
        """The reply to a request, from the journal if it is there.

        Raises:
            RequestFailedError: This request was given up.
            RunStoppedError: The run must stop.
        """
        key = request.key(self.model)
        try:
            recorded = self.journal.find_reply(key)
            failure = None if recorded else self.journal.get_fact(_GIVEN_UP + key)
        except RunStoppedError as error:
            self._breaker.stop(error)
            raise
        if recorded:
            self.counts["from_journal"] += 1
            return self._count_reply(request, recorded)
        if failure is not None:
            raise RequestFailedError(failure)
        for attempt in range(MAX_ATTEMPTS):
            self._breaker.check()
            try:
                return self._count_reply(request, await self._attempt(request))
            except RunStoppedError as error:
                self._breaker.stop(error)
                raise
            except RequestFailedError as error:
                self._breaker.record_failure(str(error))
                raise
            except openai.BadRequestError as error:
                if not self._adapt_parameters(error):
                    raise self._give_up(error, request) from error
            except openai.APIError as error:
                if attempt == MAX_ATTEMPTS - 1 or is_permanent(error):
                    raise self._give_up(error, request) from error
                await self._back_off(error, attempt)
        raise RequestFailedError(say("the model rejects the request's parameters", "模型不接受请求的参数"))

    def stop(self, error: RunStoppedError) -> RunStoppedError:
        """Stops the run, so that no further request is sent. Returns `error` for the caller to raise."""
        return self._breaker.stop(error)

    def mark_given_up(self, request: TeacherRequest, error: RequestFailedError) -> None:
        """Makes reruns skip this request too, once a later request has been answered.

        Later prompts were built without its reply. A rerun that got one would change these prompts and pay for all of
        them again.
        """
        self._given_up[request.key(self.model)] = str(error)

    def _count_reply(self, request: TeacherRequest, reply: TeacherReply) -> TeacherReply:
        self.usage[request.slot.split("/")[0]].add(reply)
        self._on_reply()
        return reply

    async def _attempt(self, request: TeacherRequest) -> TeacherReply:
        """Sends a request once: reserves its cost, records it, sends it, and settles the cost."""
        prompt_tokens = max_prompt_tokens(request)
        max_cost = self.budget.cost(self.model, prompt_tokens, request.max_tokens)
        async with self._limits.permit(prompt_tokens + request.max_tokens):
            self._breaker.check()
            if self._max_requests is not None and self.counts["sent"] >= self._max_requests:
                raise ProbeCompleteError(say("all probe requests have been used", "试探请求已用完"))
            await self.budget.reserve(max_cost)
            self.counts["sent"] += 1
            number = self._record_sent(request, prompt_tokens)
            try:
                completion = await self._client.chat.completions.create(**self._parameters(request))
                reply = _parse_reply(completion, prompt_tokens)
            except BaseException as error:
                billed = may_be_billed(error)
                self.journal.record_failure(number, billed=billed)
                self.counts["failed_attempts"] += 1
                await self.budget.settle(max_cost, max_cost if billed else 0.0)
                raise
            while self._given_up:
                key, text = self._given_up.popitem()
                self.journal.set_fact(_GIVEN_UP + key, text)
            self.journal.record_reply(number, reply)
        self._breaker.record_success()
        self.counts.update(answered=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        await self.budget.settle(max_cost, self.budget.cost(self.model, reply.prompt_tokens, reply.completion_tokens))
        return reply

    def _record_sent(self, request: TeacherRequest, prompt_tokens: int) -> int:
        key, price = request.key(self.model), self.budget.price(self.model)
        return self.journal.record_sent(key, request.slot, self.model, prompt_tokens, request.max_tokens, price)

    def _parameters(self, request: TeacherRequest) -> dict[str, Any]:
        values: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.schema is not None:
            json_schema = {"name": "reply", "strict": True, "schema": request.schema}
            values["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        names = {name: self._parameter_names.get(name, name) for name in values}
        parameters = {model_name: values[name] for name, model_name in names.items() if model_name is not None}
        return {"model": self.model, "messages": list(request.messages), **parameters}

    def _adapt_parameters(self, error: openai.BadRequestError) -> bool:
        """Adapts the parameters after an error: newer models take `max_completion_tokens`, some no temperature.

        Returns whether a parameter has changed, so that the request should be sent again.
        """
        name = error.param
        if name not in ("max_tokens", "temperature") or error.code not in _UNSUPPORTED:
            return False
        self._parameter_names[name] = "max_completion_tokens" if name == "max_tokens" else None
        return True

    def _give_up(self, error: openai.APIError, request: TeacherRequest) -> RequestFailedError | RunStoppedError:
        """The error to raise. A permanent error stops the run, unless it concerns this request alone."""
        self.counts["given_up"] += 1
        text = error_message(error)
        rejected = isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError)
        if rejected and (request.schema or self.counts["answered"] or self.counts["from_journal"]):
            self._breaker.record_failure(text)
            return RequestRejectedError(text)
        if is_permanent(error):
            return self._breaker.stop(
                TeacherRejectedError(say(f"{self.model} cannot be used: {text}", f"无法使用 {self.model}：{text}"))
            )
        self._breaker.record_failure(text)
        return RequestFailedError(text)

    async def _back_off(self, error: openai.APIError, attempt: int) -> None:
        """Waits before a retry. A rate limit delays all requests; other failures delay this one and are counted."""
        delay_s = retry_delay_s(error, attempt, random.random())  # noqa: S311 - jitter, not a secret
        self.counts["retries"] += 1
        if isinstance(error, openai.RateLimitError):
            self.counts["rate_limited"] += 1
            self._limits.pause(delay_s)
            return
        self._breaker.record_failure(error_message(error))
        await asyncio.sleep(delay_s)


def max_prompt_tokens(request: TeacherRequest) -> int:
    """An upper bound for the prompt's tokens: no tokenizer needs more than one token per byte."""
    text = sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in request.messages)
    return text + (len(str(request.schema).encode()) if request.schema else 0)


def _parse_reply(completion: Any, max_prompt: int) -> TeacherReply:
    """The reply in a chat completion. Without `usage`, its tokens count at the upper bounds.

    Raises:
        RequestFailedError: The response is not a chat completion.
    """
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        body = shortened(str(completion), 200)
        raise RequestFailedError(say(f"the response is not a chat completion: {body}", f"返回的不是对话补全：{body}"))
    choice = choices[0]
    text, reasoning = text_and_reasoning(choice.message)
    usage = getattr(completion, "usage", None)
    return TeacherReply(
        text=text,
        finish_reason=choice.finish_reason or "stop",
        prompt_tokens=(usage and usage.prompt_tokens) or max_prompt,
        completion_tokens=(usage and usage.completion_tokens) or len((text + (reasoning or "")).encode()),
        refusal=getattr(choice.message, "refusal", None),
        reasoning=reasoning,
    )
