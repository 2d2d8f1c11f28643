"""Incremental parser of generated text: stop sequences, function calls, and the text that is safe to send.

Complete and streamed responses are made from the same pieces.
"""

from collections.abc import Sequence

from luthier.data.examples.messages import Answer, parse_answer

_CALL_OPENS = "<tool_call>"


class StopAndCallParser:
    """Text that may turn out to be a stop sequence or a call is held back until that is certain.

    The output does not depend on how the text is cut into pieces: the stop sequence that is complete first ends the
    text, and of several that are complete at once the longest.
    """

    def __init__(self, stop_sequences: Sequence[str], *, calls: bool, prefix: str = "") -> None:
        """`calls`: whether calls are parsed; `prefix`: text that the generation was forced to begin with."""
        self._stop_sequences, self._parse_calls = [stop for stop in stop_sequences if stop], calls
        self._longest_stop = max((len(stop) for stop in self._stop_sequences), default=1)
        self._text, self._prefix_length = prefix, len(prefix)
        self.sent = 0  # characters that `feed` and `finish` have returned
        self.stopped = False

    def __len__(self) -> int:
        return len(self._text)

    def feed(self, piece: str) -> str:
        """Adds generated text; returns the text that can be sent."""
        if self.stopped:
            return ""
        start = max(self._prefix_length, len(self._text) - self._longest_stop)  # the forced prefix never stops
        self._text += piece
        matches = [
            (offset + len(stop), offset)
            for stop in self._stop_sequences
            if (offset := self._text.find(stop, start)) >= 0
        ]
        if matches:
            self._text, self.stopped = self._text[: min(matches)[1]], True
        return self._send_until(self._safe_length())

    def finish(self) -> tuple[Answer, str]:
        """The complete answer, and its text that was not sent yet."""
        answer = parse_answer(self._text) if self._parse_calls else Answer(self._text)
        content = answer.content or ""
        rest = content[self.sent :]
        self.sent = max(self.sent, len(content))
        return answer, rest

    def _safe_length(self) -> int:
        """Length of the text that no later piece can turn into a stop sequence or a call."""
        if self.stopped and not self._parse_calls:
            return len(self._text)
        if self._parse_calls and (offset := self._text.find(_CALL_OPENS)) >= 0:
            return len(self._text[:offset].rstrip())
        markers = [*self._stop_sequences, *([_CALL_OPENS] if self._parse_calls else [])]
        overlap = max((_overlap(self._text, marker) for marker in markers), default=0)
        length = len(self._text) - overlap
        return len(self._text[:length].rstrip()) if self._parse_calls else length

    def _send_until(self, end: int) -> str:
        piece = self._text[self.sent : end]
        self.sent = max(self.sent, end)
        return piece


def _overlap(text: str, marker: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `marker`."""
    sizes = range(min(len(marker) - 1, len(text)), 0, -1)
    return next((size for size in sizes if marker.startswith(text[-size:])), 0)
