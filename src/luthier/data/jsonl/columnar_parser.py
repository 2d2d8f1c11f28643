"""Columnar parsing: the roles and texts of lines that `fast_validator` has passed, without building objects.

In such a line the position of every quotation mark is known: two around `messages`, then eight per message, the last
two around its text. So the texts of a whole run are sliced by position and decoded in one call.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson

from luthier.data.jsonl.fast_validator import escape_positions
from luthier.data.jsonl.sequence_hashes import Hashes, text_hashes

_QUOTES_PER_LINE, _QUOTES_PER_MESSAGE = 2, 8  # those of "messages"; those of role and content, keys and values
_QUOTE, _BACKSLASH, _NEWLINE = b'"\\\n'


class ChatColumns(NamedTuple):
    """Chat examples as columns: nothing but messages, each with a role and a text, the last from the assistant.

    Per message: the first letter of its role (`s`ystem, `d`eveloper, `u`ser, `a`ssistant), its text, and the text's
    hash. Example n has the messages from `bounds[n]` up to `bounds[n + 1]`.
    """

    roles: bytes
    texts: list[str]
    hashes: Hashes
    bounds: list[int]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def slice(self, start: int, end: int) -> "ChatColumns":
        """The examples from `start` up to `end`."""
        first, last = self.bounds[start], self.bounds[end]
        bounds = [bound - first for bound in self.bounds[start : end + 1]]
        return ChatColumns(self.roles[first:last], self.texts[first:last], self.hashes[first:last], bounds)

    def spans(self) -> Iterator[tuple[int, int]]:
        """(the index of the first message, the index after the last message) of each example."""
        return pairwise(self.bounds)


def parse_columns(lines: bytes) -> ChatColumns:
    """The examples of valid lines, each with its line feed."""
    data = np.frombuffer(lines, np.uint8)
    is_quote = data == _QUOTE
    if (backslashes := np.flatnonzero(data == _BACKSLASH)).size:
        is_quote[escape_positions(backslashes) + 1] = False
    quotes = np.flatnonzero(is_quote)
    ends = np.searchsorted(quotes, np.flatnonzero(data == _NEWLINE))
    begins = np.concatenate([[0], ends[:-1]])
    in_message = np.ones(len(quotes), np.bool_)
    in_message[begins] = in_message[begins + 1] = False
    fields = quotes[in_message].reshape(-1, _QUOTES_PER_MESSAGE)
    spans = map(slice, (fields[:, 6] + 1).tolist(), fields[:, 7].tolist())
    texts = orjson.loads(b'["' + b'","'.join(map(lines.__getitem__, spans)) + b'"]')
    last = np.cumsum((ends - begins - _QUOTES_PER_LINE) // _QUOTES_PER_MESSAGE)
    return ChatColumns(data[fields[:, 2] + 1].tobytes(), texts, text_hashes(texts), [0, *last.tolist()])


def roles_and_texts(example: object) -> tuple[bytes, list[str]] | None:
    """The columns of one parsed example; None if it has anything that `ChatColumns` does not represent."""
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
