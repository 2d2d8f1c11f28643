"""Classifies the `openai` client's errors as transient or permanent, billed or not, and computes retry delays."""

import email.utils
import time

import openai

MAX_ATTEMPTS = 6
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 60.0
MAX_RETRY_AFTER_S = 600.0  # the longest delay requested by a service that is honoured
_TRANSIENT_STATUSES = (408, 409, 429)
# Compared by name, since `openai` raises those of httpx or of httpx2, depending on its version.
_NOT_CONNECTED = ("ConnectError", "ConnectTimeout", "PoolTimeout")


def is_permanent(error: openai.APIError) -> bool:
    """Whether a retry would fail too: a bad request or key, an unknown model, or an exhausted quota."""
    if isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
        return True
    if not isinstance(error, openai.APIStatusError):
        return not isinstance(error, openai.APIConnectionError)  # timeouts are connection errors
    return error.status_code < 500 and error.status_code not in _TRANSIENT_STATUSES


def retry_delay_s(error: openai.APIError, attempt: int, jitter: float) -> float:
    """Seconds before the next attempt: what the service requests, else exponential backoff.

    `jitter` is a random number from 0 to 1.
    """
    retry_after = _retry_after_s(error)
    if retry_after is not None:
        return min(retry_after, MAX_RETRY_AFTER_S) + 0.1 * jitter
    return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0**attempt) * (0.5 + jitter)


def _retry_after_s(error: openai.APIError) -> float | None:
    """The delay in `retry-after-ms`, or in `retry-after` as seconds or a date (RFC 9110, section 10.2.3), or None."""
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
    """Whether the service may charge for a failed request.

    It does not for an error status, or if no connection was made. After a timeout, a lost connection or a cancellation
    this is unknown, so the answer is True.
    """
    not_sent = type(error.__cause__).__name__ in _NOT_CONNECTED
    return not (isinstance(error, openai.APIStatusError) or not_sent)


def error_message(error: openai.APIError) -> str:
    """The status and the service's own message; the client's message if the service sent none."""
    body = error.body if isinstance(error.body, dict) else {}
    text = str(body.get("message") or error.message)
    status = f"{error.status_code}: " if isinstance(error, openai.APIStatusError) else ""
    return status + text
