"""One model behind an `openai.AsyncOpenAI` client, asked carefully: journal, money, rates, retries, circuit breaker.

Retries are this file's own and not the client's, because each attempt is reserved, recorded and settled for itself.
Knows nothing about what is asked.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai

from luthier.generate.budget import Budget
from luthier.generate.errors import AskError, BadAskError, ProbedError, StopError, TeacherDownError, TeacherRefusesError
from luthier.generate.journal import Ask, Journal, Reply
from luthier.generate.limits import Limits
from luthier.generate.retries import ATTEMPTS, is_final, may_be_billed, message_of, wait_s
from luthier.language import say

_GIVEN_UP = "given up "  # and the key of a request: a fact of the journal
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value")
_PER_MESSAGE = 16  # tokens around a message in any chat template, generously


@dataclass
class Usage:
    """What requests of one kind came to."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: Reply) -> None:
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens


class Teacher:
    """`ask` answers from the journal where it can. After a StopError no further request is sent."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        journal: Journal,
        budget: Budget,
        limits: Limits,
        *,
        most_failures: int = 10,
        most_requests: int | None = None,
        on_reply: Callable[[], None] | None = None,
    ) -> None:
        """`most_failures` in a row stop the run, and so does asking for more than `most_requests` that are not in the
        journal; `on_reply` is told of each reply.
        """
        self.model, self.journal, self.budget = model, journal, budget
        self._client, self._limits, self._on_reply = client.with_options(max_retries=0), limits, on_reply
        self._most_failures, self._failures, self._most_requests = most_failures, 0, most_requests
        self._stopped: StopError | None = None
        self._gone: dict[str, str] = {}  # what was given up by key, with the error, until the run is seen to go on
        self._renamed: dict[str, str | None] = {}  # parameters that this model takes under another name, or not at all
        self.counts: Counter[str] = Counter()  # requests by outcome, and tokens, of this run alone
        self.usage: dict[str, Usage] = defaultdict(Usage)  # by the first word of the slot, journal included

    @property
    def stopped(self) -> StopError | None:
        """Why no more requests are sent; None while they are."""
        return self._stopped

    async def ask(self, ask: Ask) -> Reply:
        """Raises AskError when this request is given up, StopError when the run should end."""
        try:
            found = self.journal.find(ask.key(self.model))
            gone = None if found else self.journal.fact(_GIVEN_UP + ask.key(self.model))
        except StopError as error:
            self._stopped = error
            raise
        if found:
            self.counts["from_journal"] += 1
            return self._hand_out(ask, found)
        if gone is not None:
            raise AskError(gone)
        for attempt in range(ATTEMPTS):
            if self._stopped:
                raise self._stopped
            try:
                return self._hand_out(ask, await self._attempt(ask))
            except StopError as error:
                self._stopped = error
                raise
            except AskError as error:
                self._count_failure(str(error))
                raise
            except openai.BadRequestError as error:
                if not self._adapt(error):
                    raise self._given_up(error, ask) from error
            except openai.APIError as error:
                if attempt == ATTEMPTS - 1 or is_final(error):
                    raise self._given_up(error, ask) from error
                await self._wait(error, attempt)
        raise AskError(say("the model refuses the request's parameters", "模型不接受请求的参数"))

    def go_without(self, ask: Ask, error: AskError) -> None:
        """Later requests are worded without the reply to this one: once one of them is answered, this one stays given
        up in reruns too, which else would word and pay them all anew.
        """
        self._gone[ask.key(self.model)] = str(error)

    def _hand_out(self, ask: Ask, reply: Reply) -> Reply:
        self.usage[ask.slot.split("/")[0]].add(reply)
        if self._on_reply:
            self._on_reply()
        return reply

    async def _attempt(self, ask: Ask) -> Reply:
        """One request over the wire: reserved, recorded, sent, settled."""
        prompt = worst_prompt_tokens(ask)
        worst = self.budget.cost(self.model, prompt, ask.max_tokens)
        async with self._limits.place(prompt + ask.max_tokens):
            if self._stopped:
                raise self._stopped
            if self._most_requests is not None and self.counts["sent"] >= self._most_requests:
                raise ProbedError(say("the probing requests are spent", "试探请求已用完"))
            await self.budget.reserve(worst)
            self.counts["sent"] += 1
            price = self.budget.price(self.model)
            number = self.journal.sent(ask.key(self.model), ask.slot, self.model, prompt, ask.max_tokens, price)
            try:
                reply = _read(await self._client.chat.completions.create(**self._parameters(ask)), prompt)
            except BaseException as error:
                billed = may_be_billed(error)
                self.journal.failed(number, billed=billed)
                self.counts["failed_attempts"] += 1
                await self.budget.settle(worst, worst if billed else 0.0)
                raise
            while self._gone:
                key, text = self._gone.popitem()
                self.journal.note(_GIVEN_UP + key, text)
            self.journal.answered(number, reply)
        self._failures = 0
        self.counts.update(answered=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        cost = self.budget.cost(self.model, reply.prompt_tokens, reply.completion_tokens)
        await self.budget.settle(worst, cost)
        return reply

    def _parameters(self, ask: Ask) -> dict[str, Any]:
        given: dict[str, Any] = {"max_tokens": ask.max_tokens, "temperature": ask.temperature}
        if ask.schema is not None:
            wrapped = {"name": "reply", "strict": True, "schema": ask.schema}
            given["response_format"] = {"type": "json_schema", "json_schema": wrapped}
        names = {name: self._renamed.get(name, name) for name in given}
        named = {other: given[name] for name, other in names.items() if other is not None}
        return {"model": self.model, "messages": list(ask.messages), **named}

    def _adapt(self, error: openai.BadRequestError) -> bool:
        """Newer models call `max_tokens` `max_completion_tokens`, and some take no temperature. True: try again."""
        name = error.param
        if name not in ("max_tokens", "temperature") or error.code not in _UNSUPPORTED:
            return False
        self._renamed[name] = "max_completion_tokens" if name == "max_tokens" else None
        return True

    def _given_up(self, error: openai.APIError, ask: Ask) -> AskError | StopError:
        """The circuit breaker: what cannot get better, or did not for long, ends the run."""
        self.counts["given_up"] += 1
        text = message_of(error)
        about_this_one = isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError)
        if about_this_one and (ask.schema or self.counts["answered"] or self.counts["from_journal"]):
            self._count_failure(text)
            return BadAskError(text)
        if is_final(error):
            self._stopped = TeacherRefusesError(
                say(f"{self.model} cannot be asked: {text}", f"无法使用 {self.model}：{text}")
            )
            return self._stopped
        self._count_failure(text)
        return AskError(text)

    def _count_failure(self, text: str) -> None:
        """Raises TeacherDownError when it was one too many."""
        self._failures += 1
        if self._failures < self._most_failures:
            return
        self._stopped = TeacherDownError(
            say(
                f"{self._failures} failures in a row; the last: {text}. What was paid for is kept: run the same "
                "command again when the service is well.",
                f"连续 {self._failures} 次失败；最近一次：{text}。"
                "已付费的回答都保存着：服务恢复后重新运行同一条命令即可。",
            )
        )
        raise self._stopped

    async def _wait(self, error: openai.APIError, attempt: int) -> None:
        """A rate limit holds everyone back; any other failure this request alone, and it counts for the breaker."""
        seconds = wait_s(error, attempt, random.random())  # noqa: S311 - jitter, no secret
        self.counts["retries"] += 1
        if isinstance(error, openai.RateLimitError):
            self.counts["rate_limited"] += 1
            self._limits.pause(seconds)
            return
        self._count_failure(message_of(error))
        await asyncio.sleep(seconds)


def worst_prompt_tokens(ask: Ask) -> int:
    """More tokens than any tokenizer makes of the prompt: it needs at most one per byte."""
    text = sum(len(message["content"].encode()) + _PER_MESSAGE for message in ask.messages)
    return text + (len(str(ask.schema).encode()) if ask.schema else 0)


def _read(completion: Any, most_prompt_tokens: int) -> Reply:
    """What counts of a completion. Where a service sends no usage, the most that it can be is counted."""
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        raise AskError(say("what came back is no chat completion", "返回的不是聊天补全"))
    choice = choices[0]
    # Half a character cannot be sent on in the next request.
    text = (choice.message.content or "").encode("utf-8", "replace").decode()
    usage = completion.usage
    return Reply(
        text=text,
        finish_reason=choice.finish_reason or "stop",
        prompt_tokens=(usage and usage.prompt_tokens) or most_prompt_tokens,
        completion_tokens=(usage and usage.completion_tokens) or len(text.encode()),
        refusal=getattr(choice.message, "refusal", None),
    )
