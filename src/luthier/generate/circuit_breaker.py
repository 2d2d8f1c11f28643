"""Stops a run after too many consecutive failures, or at the first permanent error."""

from typing import TypeVar

from luthier.generate.errors import RunStoppedError, TeacherUnavailableError
from luthier.language import say

_Error = TypeVar("_Error", bound=RunStoppedError)


class CircuitBreaker:
    """Counts consecutive failures; `stopped` is the error that stopped the run, None while it continues."""

    def __init__(self, max_consecutive_failures: int) -> None:
        self._max_failures, self._failures = max_consecutive_failures, 0
        self.stopped: RunStoppedError | None = None

    def check(self) -> None:
        """Raises the error that stopped the run, if it has stopped."""
        if self.stopped:
            raise self.stopped

    def stop(self, error: _Error) -> _Error:
        self.stopped = error
        return error

    def record_success(self) -> None:
        self._failures = 0

    def record_failure(self, message: str) -> None:
        """Counts a failure. Raises TeacherUnavailableError once the limit of consecutive failures is reached."""
        self._failures += 1
        if self._failures < self._max_failures:
            return
        raise self.stop(
            TeacherUnavailableError(
                say(
                    f"{self._failures} failures in a row; the last: {message}. Paid replies are kept: run the same "
                    "command again when the service has recovered.",
                    f"连续 {self._failures} 次失败；最近一次：{message}。"
                    "已付费的回答都保存着：服务恢复后重新运行同一条命令即可。",
                )
            )
        )
