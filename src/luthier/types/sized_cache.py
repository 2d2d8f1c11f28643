"""A cache of functions of texts, bounded by the length of the texts instead of their number.

What is kept of a schema or a grammar takes some twenty times its text, and texts come from requests: 4,096 of them can
be a megabyte or gigabytes.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
MAX_TEXT = 2 * 1024 * 1024  # characters or bytes of all arguments kept
_ENTRY_OVERHEAD = 256


def sized_cache(function: _Function) -> _Function:
    """Caches results by hashable positional arguments, least recently used first out; exceptions are not cached."""
    entries: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
    lock, total = threading.Lock(), 0

    @functools.wraps(function)
    def cached(*arguments: Any) -> Any:
        nonlocal total
        with lock:
            if arguments in entries:
                entries.move_to_end(arguments)
                return entries[arguments]
        result = function(*arguments)
        with lock:
            if arguments not in entries and _size(arguments) <= MAX_TEXT:
                entries[arguments] = result
                total += _size(arguments)
                while total > MAX_TEXT:
                    total -= _size(entries.popitem(last=False)[0])
        return result

    return cached  # type: ignore[return-value]


def _size(arguments: tuple[Any, ...]) -> int:
    return _ENTRY_OVERHEAD + sum(len(argument) for argument in arguments if isinstance(argument, (str, bytes)))
