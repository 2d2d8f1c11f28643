"""Limits on the choices of one request, in total and at a time, derived from the limit of the engine's queue."""

from luthier.server.state import State
from luthier.types.errors import BadRequestError


def check_choice_count(state: State, n: int, param: str = "n") -> None:
    """Raises BadRequestError for more choices than the queue can hold: a retry could never succeed."""
    limit = _queue_limit(state)
    if n > limit:
        message = (
            f"Invalid '{param}': integer above maximum value. Expected a value <= {limit}, but got {n} instead "
            "(the server's queue limit)."
        )
        raise BadRequestError(message, param=param, code="integer_above_max_value")


def max_running_choices(state: State, queue_share: float) -> int:
    """The number of choices of one request that may run at a time, so that it fills at most `queue_share` of the
    queue."""
    return max(1, int(_queue_limit(state) * queue_share))


def _queue_limit(state: State) -> int:
    return state.settings.queue_limit
