"""Jinja's sandbox with limits on time and size, because a chat template is untrusted text that comes with a model.

The sandbox keeps templates from executing code and reading files; the limits keep them from running for hours or
filling the memory.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jinja2
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 64 * 1024 * 1024  # of a rendering, and of any intermediate text
MAX_CPU_S = 20.0
_WIDE_FORMAT = re.compile(r"%[^%a-zA-Z]*(?:\d{6}|\*)")
_PADDING = {"center", "ljust", "rjust", "zfill", "expandtabs"}
_CHECK_EVERY = 256  # accesses and parts
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class LimitError(jinja2.TemplateError):
    """The template takes too long, or writes too long a text."""


@contextmanager
def limited_time() -> Iterator[None]:
    """Templates that render in the block share `MAX_CPU_S` of this thread's CPU time."""
    token = _deadline.set(time.thread_time() + MAX_CPU_S)
    try:
        yield
    finally:
        _deadline.reset(token)


def join_limited(parts: Iterable[str]) -> str:
    """The parts as one text. Raises LimitError."""
    texts, total = [], 0
    for number, part in enumerate(parts):
        total += len(part)
        _require_size(total)
        if number % _CHECK_EVERY == 0:
            _require_time()
        texts.append(part)
    return "".join(texts)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """An environment that raises LimitError while a template renders."""

    intercepted_binops = frozenset({"*", "**", "%"})
    _accesses = 0

    def getattr(self, obj: Any, attribute: str) -> Any:
        self._count()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self._count()
        return super().getitem(obj, argument)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        _require_time()
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str):
            if name in _PADDING and args and isinstance(args[0], int):
                _require_size(args[0] * (owner.count("\t") + 1 if name == "expandtabs" else 1))
            if name == "replace" and len(args) > 1:
                _require_size(owner.count(str(args[0])) * len(str(args[1])))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str) and _WIDE_FORMAT.search(left):
            raise LimitError("a format with a very large width")
        if operator == "*":
            for repeated, count in ((left, right), (right, left)):
                if isinstance(repeated, (str, list, tuple)) and isinstance(count, int):
                    _require_size(len(repeated) * count)
        if operator == "**" and (abs(left) > 2**32 or abs(right) > 64):
            raise LimitError("a very large power")
        return super().call_binop(context, operator, left, right)

    def _count(self) -> None:
        """Counts without a lock: if threads lose a count, the time is only checked a little later."""
        self._accesses += 1
        if self._accesses % _CHECK_EVERY == 0:
            _require_time()


def _require_time() -> None:
    deadline = _deadline.get()
    if deadline is not None and time.thread_time() > deadline:
        raise LimitError(f"it takes longer than {MAX_CPU_S:g} seconds of CPU time")


def _require_size(characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise LimitError(f"a text of more than {MAX_CHARACTERS:,} characters")
