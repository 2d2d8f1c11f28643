"""From tokens to what a client reads: text as it becomes certain, calls, log-probabilities.

Knows nothing about HTTP or engines' insides; whole and streamed answers are made from the same pieces.
"""

from collections.abc import Sequence

from luthier.data.examples.messages import Answer, parse
from luthier.data.rendering.renderer import Renderer
from luthier.inference import Token
from luthier.types.chat import Logprobs, TokenLogprob, TopLogprob

_CALL_OPENS = "<tool_call>"


class AnswerText:
    """Text under way. What might turn out to be a stop sequence or a call is held back until it is certain.

    However a text is cut into pieces, what comes out is the same: the sequence that is complete first ends the
    answer, and of those complete at once the longest.
    """

    def __init__(self, stops: Sequence[str], *, calls: bool, opening: str = "") -> None:
        """`calls`: whether calls are looked for; `opening`: what the answer was made to begin with."""
        self._stops, self._calls = [stop for stop in stops if stop], calls
        self._longest = max((len(stop) for stop in self._stops), default=1)
        self._text, self._opening, self.sent = opening, len(opening), 0
        self.stopped = False

    def __len__(self) -> int:
        return len(self._text)

    def feed(self, piece: str) -> str:
        """More text in; out comes what can be sent."""
        if self.stopped:
            return ""
        looked_at = max(self._opening, len(self._text) - self._longest)  # nobody stops at what was put in their mouth
        self._text += piece
        found = [(at + len(stop), at) for stop in self._stops if (at := self._text.find(stop, looked_at)) >= 0]
        if found:
            self._text, self.stopped = self._text[: min(found)[1]], True
        return self._release(self._certain())

    def finish(self) -> tuple[Answer, str]:
        """The whole answer, and the text of it that was not sent yet."""
        answer = parse(self._text) if self._calls else Answer(self._text)
        content = answer.content or ""
        rest = content[self.sent :]
        self.sent = max(self.sent, len(content))
        return answer, rest

    def _certain(self) -> int:
        """How much of the text cannot change its meaning any more."""
        if self.stopped and not self._calls:
            return len(self._text)
        if self._calls and (at := self._text.find(_CALL_OPENS)) >= 0:
            return len(self._text[:at].rstrip())
        watched = [*self._stops, *([_CALL_OPENS] if self._calls else [])]
        held = max((_overlap(self._text, mark) for mark in watched), default=0)
        certain = len(self._text) - held
        return len(self._text[:certain].rstrip()) if self._calls else certain

    def _release(self, until: int) -> str:
        piece = self._text[self.sent : until]
        self.sent = max(self.sent, until)
        return piece


def _overlap(text: str, mark: str) -> int:
    """The longest end of `text` that begins `mark`."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-size:])), 0)


def logprobs(tokens: Sequence[Token], renderer: Renderer) -> Logprobs:
    return Logprobs(
        content=[
            TokenLogprob(
                **_token(token.id, token.logprob, renderer).model_dump(),
                top_logprobs=[_token(other, value, renderer) for other, value in token.top],
            )
            for token in tokens
        ]
    )


def _token(token: int, logprob: float, renderer: Renderer) -> TopLogprob:
    raw = renderer.token_bytes(token)
    return TopLogprob(token=raw.decode("utf-8", "replace"), logprob=max(logprob, -9999.0), bytes=list(raw))
