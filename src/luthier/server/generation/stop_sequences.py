"""Stop sequences in the text that the client sees; the markup of calls has been removed before."""

from collections.abc import Sequence


class StopSequenceFilter:
    """Holds back text that may become a stop sequence until it is clear whether it does.

    The output does not depend on how the text is split into pieces: the stop sequence that is completed first ends the
    text, and among several completed at the same position the longest.
    """

    def __init__(self, stop_sequences: Sequence[str], protected: int = 0) -> None:
        """`protected`: offset in the generated text before which no stop sequence can begin."""
        self._stop_sequences, self._protected = [stop for stop in stop_sequences if stop], protected
        self._text, self._start = "", 0  # held-back text and its offset in the generated text
        self.stopped = False

    @property
    def position(self) -> int:
        """Offset in the generated text of the first character that has not been returned yet."""
        return self._start

    def feed(self, text: str, start: int) -> str:
        """Add the text at offset `start`, which follows the previous text, and return the text that can be sent."""
        if self.stopped:
            return ""
        if not self._text:
            self._start = start
        self._text += text
        first = max(0, self._protected - self._start)
        matches = [
            (offset + len(stop), offset)
            for stop in self._stop_sequences
            if (offset := self._text.find(stop, first)) >= 0
        ]
        if matches:
            self._text, self.stopped = self._text[: min(matches)[1]], True
            return self.flush()
        overlap = max((_overlap(self._text, stop) for stop in self._stop_sequences), default=0)
        return self._take(len(self._text) - overlap)

    def flush(self) -> str:
        """Return the held-back text, since no text follows it, or a call does."""
        return self._take(len(self._text))

    def _take(self, end: int) -> str:
        piece, self._text = self._text[:end], self._text[end:]
        self._start += end
        return piece


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `stop`."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if stop.startswith(text[-size:])), 0)
