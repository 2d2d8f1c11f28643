"""Lines that are proved clean → their roles and texts, without building the objects that they spell.

Of such a line the place of every mark is known: two around `messages`, then eight to a message, the last two around
its text. So the texts of a whole run are cut out by their marks and read in one go. Knows only what `clean` proves.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson

from luthier.data.check.fast_validator import escapes

_IN_LINE, _IN_MESSAGE = 2, 8  # quotation marks
_QUOTE, _BACKSLASH, _NEWLINE = b'"\\\n'


class Plain(NamedTuple):
    """Examples of nothing but messages, each of a role and a text; the last is an assistant's.

    Per message: the first letter of its role (`s`ystem, `d`eveloper, `u`ser, `a`ssistant), and its text. Example n has
    the messages from `bounds[n]` up to `bounds[n + 1]`.
    """

    roles: bytes
    texts: list[str]
    bounds: list[int]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def part(self, start: int, end: int) -> "Plain":
        """The examples from `start` up to `end`."""
        first, last = self.bounds[start], self.bounds[end]
        bounds = [bound - first for bound in self.bounds[start : end + 1]]
        return Plain(self.roles[first:last], self.texts[first:last], bounds)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where the messages of each example begin and end."""
        return pairwise(self.bounds)


def plain(lines: bytes) -> Plain:
    """The examples of proved lines, each with its line feed."""
    data = np.frombuffer(lines, np.uint8)
    is_mark = data == _QUOTE
    if (backslashes := np.flatnonzero(data == _BACKSLASH)).size:
        is_mark[escapes(backslashes) + 1] = False
    marks = np.flatnonzero(is_mark)
    ends = np.searchsorted(marks, np.flatnonzero(data == _NEWLINE))
    begins = np.concatenate([[0], ends[:-1]])
    is_message = np.ones(len(marks), np.bool_)
    is_message[begins] = is_message[begins + 1] = False
    fields = marks[is_message].reshape(-1, _IN_MESSAGE)
    cuts = zip((fields[:, 6] + 1).tolist(), fields[:, 7].tolist(), strict=True)
    texts = orjson.loads(b'["' + b'","'.join([lines[start:end] for start, end in cuts]) + b'"]')
    last = np.cumsum((ends - begins - _IN_LINE) // _IN_MESSAGE)
    return Plain(data[fields[:, 2] + 1].tobytes(), texts, [0, *last.tolist()])


def plain_value(example: object) -> tuple[bytes, list[str]] | None:
    """Roles and texts, as `Plain` has them, of an example that says nothing else; None of any other."""
    if not isinstance(example, dict) or list(example) != ["messages"] or not isinstance(example["messages"], list):
        return None
    roles, texts = "", []
    for message in example["messages"]:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            return None
        role, text = message["role"], message["content"]
        if role not in ("system", "developer", "user", "assistant") or not isinstance(text, str):
            return None
        roles += role[0]
        texts.append(text)
    return roles.encode(), texts
