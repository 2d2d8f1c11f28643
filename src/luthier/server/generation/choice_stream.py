"""One choice of a completion: tokens in, parts of the response out.

This module decides, for complete and streamed responses alike, which text belongs to which part, which functions are
called and why a choice ended.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from luthier.data.rendering.call_form import ArgumentsText, CallEvent, CallReader, CallStart, ReasoningText, VisibleText
from luthier.data.rendering.thinking_reader import ThinkingReader
from luthier.inference import FinishReason, Token
from luthier.server.generation.stop_sequences import StopSequenceFilter
from luthier.server.generation.tool_calls import CallDelta, CallPolicy, GeneratedCalls, encodable_name
from luthier.types import chat as types
from luthier.types.errors import UnavailableError
from luthier.types.ids import new_id


@dataclass(frozen=True)
class TextDelta:
    """`tokens`: those that begin in the text, if log-probabilities are requested."""

    text: str
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True)
class Finish:
    reason: types.FinishReason


Part = TextDelta | CallDelta | ReasoningDelta | Finish


@dataclass
class GeneratedChoice:
    """A complete choice, collected from its parts; without parts, that of a request for no tokens."""

    text: str = ""
    reasoning: str = ""
    tokens: list[Token] = field(default_factory=list)
    calls: GeneratedCalls = field(default_factory=GeneratedCalls)
    finish_reason: types.FinishReason = "length"

    def add(self, part: Part) -> None:
        match part:
            case TextDelta():
                self.text += part.text
                self.tokens += part.tokens
            case CallDelta():
                self.calls.add(part)
            case ReasoningDelta():
                self.reasoning += part.text
            case Finish():
                self.finish_reason = part.reason


class _PlainReader:
    """Reads generated text without parsing calls."""

    def __init__(self) -> None:
        self._length = 0

    def feed(self, piece: str) -> list[CallEvent]:
        self._length += len(piece)
        return [VisibleText(piece, self._length - len(piece))] if piece else []

    def finish(self, *, cut_off: bool) -> list[CallEvent]:
        return []


class ChoiceParser:
    def __init__(
        self,
        decode: Callable[[int], str],
        stop_sequences: Sequence[str],
        calls: CallPolicy,
        *,
        keep_tokens: bool,
    ) -> None:
        """`decode`: returns the text that a token completes, such as `Renderer.stream_decoder`."""
        has_marks = bool(calls.wire_form) or calls.form.marks_every_answer
        self._reader: CallReader = calls.form.new_reader(calls.definitions) if has_marks else _PlainReader()
        if calls.reasoning != "unread" and not calls.form.marks_every_answer:
            self._reader = ThinkingReader(self._reader, calls.reasoning_marks, inside=calls.reasoning == "open")
        self._stops = StopSequenceFilter(stop_sequences, protected=len(calls.forced_prefix))
        self._decode, self._calls, self._keep_tokens = decode, calls, keep_tokens
        self._pending: list[tuple[int, int, Token]] = []  # (start, end, token) of tokens that are not yet in a part
        self._length = len(calls.forced_prefix)  # of the generated text
        self._call_count = 0
        self._reader.feed(calls.forced_prefix)
        self.finished = False

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence was generated."""
        return self._stops.stopped

    def feed(self, token: Token) -> Iterator[Part]:
        text = self._decode(token.id)
        if self._keep_tokens:
            self._pending.append((self._length, self._length + len(text), token))
        self._length += len(text)
        yield from self._parts(self._reader.feed(text))

    def finish(self, reason: FinishReason | None) -> Iterator[Part]:
        """The remaining parts. Raises UnavailableError if the engine was closed during generation."""
        self.finished = True
        if reason == "cancelled" and not self.stopped:
            raise UnavailableError("The server is shutting down.")
        if not self.stopped:
            yield from self._parts(self._reader.finish(cut_off=reason == "length"))
        yield from self._text_part(self._stops.flush())
        # The bytes of an incomplete character decode to no text, but their tokens were generated and are reported.
        if self._pending and not self.stopped and not self._call_count and self._stops.position == self._length:
            yield TextDelta("", [token for _, _, token in self._pending])
        yield Finish(self._finish_reason(reason))

    def _parts(self, events: Sequence[CallEvent]) -> Iterator[Part]:
        for event in events:
            if self.stopped:
                return
            match event:
                case VisibleText():
                    yield from self._text_part(self._stops.feed(event.text, event.start))
                case CallStart():
                    yield from self._text_part(self._stops.flush())
                    self._call_count += 1
                    yield from self._call_part(id=new_id("call_"), name=encodable_name(event.name))
                case ArgumentsText():
                    yield from self._call_part(arguments=event.text)
                case ReasoningText():
                    yield ReasoningDelta(event.text)

    def _text_part(self, text: str) -> Iterator[TextDelta]:
        if text:
            end = self._stops.position
            yield TextDelta(text, self._take_tokens(end - len(text), end))

    def _call_part(self, *, id: str | None = None, name: str | None = None, arguments: str = "") -> Iterator[CallDelta]:
        """Only the first call is returned in the legacy form and without parallel calls."""
        legacy = self._calls.wire_form == "functions"
        if self._call_count == 1 or (self._calls.parallel and not legacy):
            yield CallDelta(self._call_count - 1, legacy=legacy, id=id, name=name, arguments=arguments)

    def _take_tokens(self, start: int, end: int) -> list[Token]:
        """Take the pending tokens of the text from `start` to `end`; those of markup before it are dropped."""
        earlier = [entry for entry in self._pending if entry[0] < end]
        self._pending = self._pending[len(earlier) :]
        return [token for token_start, token_end, token in earlier if token_start >= start or token_end > start]

    def _finish_reason(self, reason: FinishReason | None) -> types.FinishReason:
        if reason == "length" and not self.stopped:
            return "length"
        if self._call_count:
            return "function_call" if self._calls.wire_form == "functions" else "tool_calls"
        return "stop"
