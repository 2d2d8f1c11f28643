"""One choice of a completion: tokens in, parts of the response out.

Which text belongs to which part, which functions are called and why the choice ended is decided here, once, for
complete and for streamed responses.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from luthier.inference import FinishReason, Token
from luthier.server.generation.stop_and_call_parser import StopAndCallParser
from luthier.server.generation.tool_calls import CallPolicy, GeneratedCalls, wire_calls
from luthier.types import chat as types
from luthier.types.errors import UnavailableError


@dataclass(frozen=True)
class TextDelta:
    """`tokens`: those that begin in the text, where log-probabilities are requested."""

    text: str
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True)
class Finish:
    reason: types.FinishReason


Part = TextDelta | GeneratedCalls | Finish


@dataclass
class GeneratedChoice:
    """A complete choice, collected from its parts; without any it is that of a request for no tokens."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    calls: GeneratedCalls | None = None
    finish_reason: types.FinishReason = "length"

    def add(self, part: Part) -> None:
        match part:
            case TextDelta():
                self.text += part.text
                self.tokens += part.tokens
            case GeneratedCalls():
                self.calls = part
            case Finish():
                self.finish_reason = part.reason


class ChoiceParser:
    def __init__(
        self,
        decode: Callable[[int], str],
        stop_sequences: Sequence[str],
        calls: CallPolicy,
        *,
        keep_tokens: bool,
    ) -> None:
        """`decode`: the text that a token completes, as of `Renderer.reader`."""
        self._text = StopAndCallParser(stop_sequences, calls=calls.wire_form is not None, prefix=calls.forced_prefix)
        self._decode, self._calls, self._keep_tokens = decode, calls, keep_tokens
        self._pending: list[tuple[int, Token]] = []  # (offset in the text, token) of tokens that no part has yet
        self.finished = False

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence was generated."""
        return self._text.stopped

    def feed(self, token: Token) -> Iterator[TextDelta]:
        if self._keep_tokens:
            self._pending.append((len(self._text), token))
        text = self._text.feed(self._decode(token.id))
        if text:
            yield TextDelta(text, self._take_tokens(self._text.sent))

    def finish(self, reason: FinishReason | None) -> Iterator[Part]:
        """The remaining parts. Raises UnavailableError when the engine was closed during generation."""
        self.finished = True
        if reason == "cancelled" and not self.stopped:
            raise UnavailableError("The server is shutting down.")
        answer, rest = self._text.finish()
        # An incomplete character's bytes decode to no text, but their tokens were generated and are reported.
        is_all_text = not self.stopped and not answer.calls
        tokens = [token for _, token in self._pending] if is_all_text else self._take_tokens(self._text.sent)
        if rest or tokens:
            yield TextDelta(rest, tokens)
        if answer.calls:
            yield wire_calls(answer.calls, self._calls)
        yield Finish(self._finish_reason(reason, has_calls=bool(answer.calls)))

    def _take_tokens(self, end: int) -> list[Token]:
        """The pending tokens that begin before offset `end`."""
        tokens = [token for offset, token in self._pending if offset < end]
        self._pending = self._pending[len(tokens) :]
        return tokens

    def _finish_reason(self, reason: FinishReason | None, *, has_calls: bool) -> types.FinishReason:
        if reason == "length" and not self.stopped:
            return "length"
        if has_calls:
            return "function_call" if self._calls.wire_form == "functions" else "tool_calls"
        return "stop"
