"""Which failures pass, how long to wait for that, and which may have cost money all the same.

Knows the exceptions of the `openai` client and nothing about a run.
"""

import email.utils
import time

import openai

ATTEMPTS = 6
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LONGEST_TOLD_S = 600.0  # a service that asks for more than this is not going to answer this run
_PASSING = (408, 409, 429)
# By name: what raises them is httpx or httpx2, as the version of `openai` has it.
_NO_CONNECTION = ("ConnectError", "ConnectTimeout", "PoolTimeout")


def is_final(error: openai.APIError) -> bool:
    """Whether the same request would fail again: a bad request or key, an unknown model, an empty account."""
    if isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
        return True
    if not isinstance(error, openai.APIStatusError):
        return not isinstance(error, openai.APIConnectionError)  # a time-out is a connection error
    return error.status_code < 500 and error.status_code not in _PASSING


def wait_s(error: openai.APIError, attempt: int, chance: float) -> float:
    """Seconds until the next attempt: what the service says, else doubled each time and spread by `chance` (0 to 1)."""
    told = _told_s(error)
    if told is not None:
        return min(told, LONGEST_TOLD_S) + 0.1 * chance
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt) * (0.5 + chance)


def _told_s(error: openai.APIError) -> float | None:
    """`retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, section 10.2.3)."""
    if not isinstance(error, openai.APIStatusError):
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = error.response.headers.get(name, "")
        try:
            return max(0.0, float(text) * unit)
        except ValueError:
            continue
    date = email.utils.parsedate_tz(error.response.headers.get("retry-after", ""))
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def may_be_billed(error: BaseException) -> bool:
    """An error status is not billed, nor what never got a connection. After another time-out, a lost connection or a
    cancelled wait nobody can know.
    """
    unsent = type(error.__cause__).__name__ in _NO_CONNECTION
    return not (isinstance(error, openai.APIStatusError) or unsent)


def message_of(error: openai.APIError) -> str:
    """The service's own words where it has some."""
    body = error.body if isinstance(error.body, dict) else {}
    text = str(body.get("message") or error.message)
    status = f"{error.status_code}: " if isinstance(error, openai.APIStatusError) else ""
    return status + text
