"""The choices of one completion under way: tokens in, parts out, in the order in which tokens come.

What is said in which piece, what is called and why it ended is decided here, once, for whole answers and for
streamed ones. Knows nothing about either.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from luthier.inference import FinishReason, Token
from luthier.server.generation.async_bridge import tokens_of
from luthier.server.generation.request import Underway
from luthier.server.generation.stop_and_call_parser import AnswerText
from luthier.server.generation.tool_calls import Called, CallRules, calls_as_sent
from luthier.types import chat as types
from luthier.types.errors import UnavailableError


@dataclass(frozen=True)
class Said:
    """Text, with the tokens that begin in it where log-probabilities were asked for."""

    text: str
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    reason: types.FinishReason


Part = Said | Called | Ended


async def parts(answers: Underway) -> AsyncGenerator[tuple[int, Part]]:
    """(index of the choice, what it says next); the last of each choice is Ended. Raises what the engine raises."""
    choices = [
        Choice(answers.text(), answers.renderer.reader(), answers.calls, answers.with_tokens) for _ in answers.streams
    ]
    async with aclosing(tokens_of(answers.streams)) as tokens:
        async for index, token in tokens:
            choice, stream = choices[index], answers.streams[index]
            if choice.over:
                continue  # tokens that were on their way when a stop sequence ended it
            if token is not None:
                answers.completion_tokens += 1
                for said in choice.feed(token):
                    yield index, said
            if token is None or choice.stopped:
                stream.cancel()
                for part in choice.end(stream.finish_reason):
                    yield index, part
                if all(choice.over for choice in choices):
                    return


class Choice:
    def __init__(self, text: AnswerText, read: Callable[[int], str], calls: CallRules, with_tokens: bool) -> None:
        self._text, self._read, self._calls, self._with_tokens = text, read, calls, with_tokens
        self._pending: list[tuple[int, Token]] = []  # where in the text each token begins that was not sent yet
        self.over = False

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence came."""
        return self._text.stopped

    def feed(self, token: Token) -> Iterator[Said]:
        if self._with_tokens:
            self._pending.append((len(self._text), token))
        piece = self._text.feed(self._read(token.id))
        if piece:
            yield Said(piece, self._tokens_until(self._text.sent))

    def end(self, finish: FinishReason | None) -> Iterator[Part]:
        """What is left to say. Raises UnavailableError when the engine was closed in the middle."""
        self.over = True
        if finish == "cancelled" and not self.stopped:
            raise UnavailableError("The server is shutting down.")
        answer, rest = self._text.finish()
        # Bytes of a character that never became whole belong to no text, yet they were generated.
        all_said = not self.stopped and not answer.calls
        tokens = [token for _, token in self._pending] if all_said else self._tokens_until(self._text.sent)
        if rest or tokens:
            yield Said(rest, tokens)
        if answer.calls:
            yield calls_as_sent(answer.calls, self._calls)
        yield Ended(self._reason(finish, bool(answer.calls)))

    def _tokens_until(self, end: int) -> list[Token]:
        sent = [token for begin, token in self._pending if begin < end]
        self._pending = self._pending[len(sent) :]
        return sent

    def _reason(self, finish: FinishReason | None, called: bool) -> types.FinishReason:
        if finish == "length" and not self.stopped:
            return "length"
        if called:
            return "function_call" if self._calls.form == "functions" else "tool_calls"
        return "stop"
