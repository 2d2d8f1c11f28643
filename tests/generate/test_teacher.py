"""Asking carefully: what is tried again, what is not, what is paid for, and that nothing is paid for twice."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.resources.chat.completions import AsyncCompletions

from generate.conftest import run_with
from generate.teacher_server import TeacherServer, completion
from luthier.generate.budget import Budget, Price
from luthier.generate.errors import (
    CostCapError,
    JournalError,
    OptionsError,
    RequestFailedError,
    RequestRejectedError,
    TeacherRejectedError,
    TeacherUnavailableError,
)
from luthier.generate.journal import _SCHEMA, Journal, TeacherReply, TeacherRequest
from luthier.generate.limits import RateLimits
from luthier.generate.teacher import Teacher, max_prompt_tokens

pytestmark = pytest.mark.services

Asking = Callable[..., tuple[list[Any], Teacher]]
EVERY = 99


def request(number: int, **options: Any) -> TeacherRequest:
    return TeacherRequest(f"answers/{number}", ({"role": "user", "content": f"question {number}"},), 50, **options)


@pytest.fixture
def asking(server: TeacherServer, journal: Journal) -> Asking:
    """The outcomes of asks sent side by side, errors included, and the teacher that was asked."""

    def ask(
        *requests: TeacherRequest,
        budget: Budget | None = None,
        limits: RateLimits | None = None,
        **options: Any,
    ):
        async def run(client: Any):
            run_budget = budget or Budget({"t": Price(1, 1)})
            teacher = Teacher(client, "t", journal, run_budget, limits or RateLimits(), **options)
            return await asyncio.gather(*map(teacher.ask, requests), return_exceptions=True), teacher

        return run_with(server, run)

    return ask


def outcomes(journal: Journal) -> list[str]:
    return [entry.outcome for entry in journal.records()]


def test_a_reply_is_paid_for_once(server: TeacherServer, asking: Asking) -> None:
    (first,), _ = asking(request(1))
    (again, other), teacher = asking(request(1), request(2))
    assert again.text == first.text
    assert (first.from_journal, again.from_journal, other.from_journal) == (False, True, False)
    assert server.paid == 2
    assert teacher.counts["answered"] == 1


def test_the_same_words_for_another_slot_are_another_request(server: TeacherServer, asking: Asking) -> None:
    first = request(1)
    asking(first, TeacherRequest("answers/other", first.messages, 50), request(1, temperature=0.1))
    assert server.paid == 3


def test_retry_after_is_honoured_by_everyone(server: TeacherServer, asking: Asking) -> None:
    server.fault("question 1", status=429, headers={"retry-after": "0.4"})
    begun = time.monotonic()
    replies, teacher = asking(request(1), request(2), request(3), limits=RateLimits(concurrency=1))
    assert time.monotonic() - begun >= 0.4
    assert all(isinstance(reply, TeacherReply) for reply in replies)
    assert [body["messages"][0]["content"][-1] for body in server.requests] == ["1", "2", "3", "1"]
    assert teacher.counts["rate_limited"] == 1
    assert server.paid == 3


@pytest.mark.parametrize("status", [408, 500, 503])
def test_passing_failures_are_tried_again(server: TeacherServer, asking: Asking, journal: Journal, status: int) -> None:
    server.fault("question", status=status, times=2)
    (reply,), _ = asking(request(1))
    assert isinstance(reply, TeacherReply)
    assert outcomes(journal) == ["refused", "refused", "answered"]


def test_a_failure_that_does_not_pass_gives_up_that_request_alone(server: TeacherServer, asking: Asking) -> None:
    server.fault("question 1", status=500, times=EVERY)
    (lost, answered), teacher = asking(request(1), request(2), max_consecutive_failures=50)
    assert isinstance(lost, RequestFailedError)
    assert isinstance(answered, TeacherReply)
    assert len(server.requests) == 7
    assert teacher.stopped is None


def test_many_failures_in_a_row_break_the_circuit(server: TeacherServer, asking: Asking) -> None:
    server.fault("question", status=500, times=EVERY)
    results, teacher = asking(*map(request, range(40)), max_consecutive_failures=7, limits=RateLimits(concurrency=1))
    assert all(isinstance(error, TeacherUnavailableError) for error in results)
    assert len(server.requests) == 7
    assert "7 failures in a row; the last: 500: scripted 500" in str(teacher.stopped)


@pytest.mark.parametrize(
    "what", [{"status": 401}, {"status": 404}, {"status": 429, "code": "insufficient_quota"}, {"status": 400}]
)
def test_what_cannot_get_better_ends_the_run_at_once(server: TeacherServer, asking: Asking, what: dict) -> None:
    server.fault("question", times=EVERY, **what)
    results, _ = asking(request(1), request(2), limits=RateLimits(concurrency=1))
    assert all(isinstance(error, TeacherRejectedError) for error in results)
    assert len(server.requests) == 1


def test_one_bad_request_among_good_ones_is_that_ones_fault(server: TeacherServer, asking: Asking) -> None:
    server.fault("question 2", status=400, times=EVERY)
    results, _ = asking(request(1), request(2), request(3), limits=RateLimits(concurrency=1))
    assert [type(result) for result in results] == [TeacherReply, RequestRejectedError, TeacherReply]
    assert len(server.requests) == 3


def test_a_request_that_timed_out_may_have_cost_its_worst(
    asking: Asking, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer comes too late."""
    answers, create = [], AsyncCompletions.create

    async def late_at_first(completions: AsyncCompletions, **parameters: Any) -> Any:
        answers.append(await create(completions, **parameters))
        if len(answers) == 1:
            raise openai.APITimeoutError(httpx.Request("POST", "http://late"))
        return answers[-1]

    monkeypatch.setattr(AsyncCompletions, "create", late_at_first)
    (reply,), teacher = asking(request(1))
    assert isinstance(reply, TeacherReply)
    assert outcomes(journal) == ["lost", "answered"]
    worst = (max_prompt_tokens(request(1)) + 50) / 1e6
    assert teacher.budget.spent == pytest.approx(worst + (reply.prompt_tokens + reply.completion_tokens) / 1e6)


def test_a_connection_that_never_was_costs_nothing(server: TeacherServer, asking: Asking, journal: Journal) -> None:
    server.base_url = "http://127.0.0.1:1/v1"
    (error,), teacher = asking(request(1), max_consecutive_failures=50)
    assert isinstance(error, RequestFailedError)
    assert outcomes(journal) == ["refused"] * 6
    assert teacher.budget.spent == 0


def test_newer_names_of_parameters_are_learnt(server: TeacherServer, asking: Asking) -> None:
    server.fault(lambda body: "max_tokens" in body, times=EVERY, status=400, param="max_tokens",
                 code="unsupported_parameter")  # fmt: skip
    server.fault(lambda body: "temperature" in body, times=EVERY, status=400, param="temperature",
                 code="unsupported_value")  # fmt: skip
    replies, _ = asking(request(1), request(2))
    assert all(isinstance(reply, TeacherReply) for reply in replies)
    assert server.requests[-1]["max_completion_tokens"] == 50
    assert not {"max_tokens", "temperature"} & set(server.requests[-1])


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_cap_is_never_passed_and_used_up(server: TeacherServer, asking: Asking, concurrency: int) -> None:
    """Each request can cost 75 tokens at worst, and costs less."""
    worst = max_prompt_tokens(request(10)) + 50
    budget = Budget({"t": Price(1e6, 1e6)}, cost_cap=400.0)
    server.fault("question", times=EVERY, text="1234567890")
    results, teacher = asking(*map(request, range(10, 40)), budget=budget, limits=RateLimits(concurrency))
    replies = [reply for reply in results if isinstance(reply, TeacherReply)]
    assert budget.spent == sum(reply.prompt_tokens + reply.completion_tokens for reply in replies) <= 400
    assert budget.spent + worst > 400, "a request more would have fitted"
    assert isinstance(teacher.stopped, CostCapError)
    assert server.paid == len(replies)


def test_requests_per_minute_are_spread(server: TeacherServer, asking: Asking) -> None:
    begun = time.monotonic()
    asking(*map(request, range(4)), limits=RateLimits(8, requests_per_minute=600))
    assert time.monotonic() - begun >= 0.3


def test_what_is_no_completion_is_an_error(server: TeacherServer, asking: Asking, monkeypatch: Any) -> None:
    monkeypatch.setattr("generate.teacher_server.completion", lambda *_: {"choices": []})
    (error,), _ = asking(request(1))
    assert isinstance(error, RequestFailedError)


def test_a_service_that_counts_no_tokens_is_counted_at_the_most(
    server: TeacherServer, asking: Asking, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        "generate.teacher_server.completion", lambda *arguments: completion(*arguments) | {"usage": None}
    )
    (reply,), teacher = asking(request(1))
    assert (reply.prompt_tokens, reply.completion_tokens) == (max_prompt_tokens(request(1)), len(reply.text.encode()))
    assert teacher.budget.spent > 0


def test_without_a_journal_nothing_more_is_spent(server: TeacherServer, asking: Asking, journal: Journal) -> None:
    journal._database.execute("DROP TABLE requests")
    results, teacher = asking(request(1), request(2))
    assert all(isinstance(error, JournalError) for error in results)
    assert isinstance(teacher.stopped, JournalError)
    assert not server.requests
    journal._database.executescript(_SCHEMA)


def test_one_run_at_a_time(journal: Journal) -> None:
    with pytest.raises(OptionsError, match="Another run is writing"):
        Journal(journal.path)


def test_a_file_that_is_no_journal_is_named(tmp_path: Any) -> None:
    path = tmp_path / "data.journal"
    path.write_bytes(b"this is not a database, whatever it is" * 50)
    with pytest.raises(OptionsError, match="is not a journal"):
        Journal(path)
    assert path.read_bytes().startswith(b"this is not")
