"""What a client gets of a completion of plain text: one object, or chunks of the same shape as events."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.data.rendering.renderer import Renderer
from luthier.inference import Token
from luthier.server.generation.choice_stream import Ended, Part, Said, parts
from luthier.server.http.errors import as_api_error
from luthier.server.routes.chat_completions.response import event
from luthier.server.routes.completions.prepare import Prompt, TextCompletion
from luthier.types import completions as types
from luthier.types.errors import RateLimitError

_PATIENCE_S = 600.0  # for a place, once there are answers that would be lost
_PAUSE_S = 0.5


async def whole(completion: TextCompletion, *, at_once: int) -> dict[str, Any]:
    """The completion as one object, at most `at_once` answers under way. The engine's slots are free afterwards.

    Raises RateLimitError, as a rule before the first answer: afterwards a full queue is waited for.
    """
    drafts = [_Draft() for _ in completion.generations]
    for begin in range(0, len(drafts), at_once):
        wave = replace(completion, generations=completion.generations[begin : begin + at_once], streams=[])
        wave.completion_tokens = 0
        await _start(wave, patience_s=_PATIENCE_S if begin else 0.0)
        try:
            async for index, part in parts(wave):
                drafts[begin + index].add(part)
        finally:
            wave.cancel()
        completion.completion_tokens += wave.completion_tokens
        completion.streams = completion.streams or wave.streams  # the usage reports the first one's cached tokens
    choices: list[types.TextChoice] = []
    for at, prompt in enumerate(completion.prompts):
        mine = drafts[at * completion.candidates : (at + 1) * completion.candidates] or [_Draft()] * completion.n
        for draft in _best(mine, completion.n):
            choices.append(_choice(completion, len(choices), prompt, draft))
    return types.TextCompletion(**completion.head, choices=choices, usage=completion.usage).model_dump()


async def _start(wave: TextCompletion, *, patience_s: float) -> None:
    """Raises RateLimitError when the queue was full for so long."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return wave.start()
        except RateLimitError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_PAUSE_S)


@dataclass
class _Draft:
    """One candidate, gathered from its parts; without any, what is left when no token is wanted."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    reason: types.FinishReason = "length"

    def add(self, part: Part) -> None:
        match part:
            case Said():
                self.text += part.text
                self.tokens += part.tokens
            case Ended():
                self.reason = _reason(part)

    @property
    def likelihood(self) -> float:
        """The mean log-probability of its tokens."""
        return sum(token.logprob for token in self.tokens) / len(self.tokens) if self.tokens else 0.0


def _best(drafts: list[_Draft], n: int) -> list[_Draft]:
    return drafts if len(drafts) == n else sorted(drafts, key=lambda draft: draft.likelihood, reverse=True)[:n]


def _reason(ended: Ended) -> types.FinishReason:
    return "length" if ended.reason == "length" else "stop"


def _choice(completion: TextCompletion, index: int, prompt: Prompt, draft: _Draft) -> types.TextChoice:
    text, reader = draft.text, _Offsets(completion.renderer, len(prompt.text))
    found = reader.logprobs(draft.tokens, completion.body.logprobs)
    if completion.body.echo:
        text = prompt.text + text
        found = _joined(_prompt_logprobs(completion, prompt), found)
    return types.TextChoice(
        text=text,
        index=index,
        logprobs=found if completion.body.logprobs is not None else None,
        finish_reason=draft.reason,
    )


async def events(completion: TextCompletion) -> AsyncIterator[str]:
    """A chunk for each piece of each choice, an echoed prompt first; an error becomes a data line."""
    options = completion.body.stream_options
    with_usage = bool(options and options.include_usage)
    offsets = {}

    def chunk(choices: list[types.TextChoice]) -> dict[str, Any]:
        made = types.TextCompletion(**completion.head, choices=choices).model_dump(exclude={"usage"})
        return made | ({"usage": None} if with_usage else {})

    try:
        for index in range(len(completion.prompts) * completion.n):
            prompt = completion.prompts[index // completion.n]
            offsets[index] = _Offsets(completion.renderer, len(prompt.text))
            for choice in _openings(completion, index, prompt):
                yield event(chunk([choice]))
        if completion.generations:
            async for index, part in parts(completion):
                yield event(chunk([_piece(completion, index, part, offsets[index])]))
        if with_usage:
            yield event(chunk([]) | {"usage": completion.usage.model_dump()})
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield event(as_api_error(error).body())


def _openings(completion: TextCompletion, index: int, prompt: Prompt) -> list[types.TextChoice]:
    """What a choice begins with: the prompt where it is echoed; and its end where no token is wanted."""
    made = []
    if completion.body.echo:
        scored = _prompt_logprobs(completion, prompt) if completion.body.logprobs is not None else None
        made.append(types.TextChoice(text=prompt.text, index=index, logprobs=scored))
    if not completion.generations:
        made.append(types.TextChoice(text="", index=index, finish_reason="length"))
    return made


def _piece(completion: TextCompletion, index: int, part: Part, offsets: "_Offsets") -> types.TextChoice:
    if isinstance(part, Said):
        found = offsets.logprobs(part.tokens, completion.body.logprobs)
        return types.TextChoice(text=part.text, index=index, logprobs=found if part.tokens else None)
    return types.TextChoice(text="", index=index, finish_reason=_reason(part) if isinstance(part, Ended) else "stop")


class _Offsets:
    """Where in the text each token of one choice begins."""

    def __init__(self, renderer: Renderer, begin: int) -> None:
        self._renderer, self._read, self._at = renderer, renderer.reader(), begin

    def logprobs(self, tokens: list[Token], top: int | None) -> types.TextLogprobs:
        """Of these tokens, which come after those that were given before; `top`: as the request has it."""
        offsets = []
        for token in tokens:
            offsets.append(self._at)
            self._at += len(self._read(token.id))
        return types.TextLogprobs(
            tokens=[self._text(token.id) for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[self._likeliest(token) for token in tokens] if top else None,
            text_offset=offsets,
        )

    def _likeliest(self, token: Token) -> dict[str, float]:
        """With the token itself, which need not be among them."""
        return {self._text(other): value for other, value in (*token.top, (token.id, token.logprob))}

    def _text(self, token: int) -> str:
        """Part of a character is written as its bytes, as OpenAI writes it."""
        raw = self._renderer.token_bytes(token)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _prompt_logprobs(completion: TextCompletion, prompt: Prompt) -> types.TextLogprobs:
    first = Token(prompt.ids[0], 0.0)
    made = _Offsets(completion.renderer, 0).logprobs([first, *prompt.echoed], completion.body.logprobs)
    made.token_logprobs[0] = None
    if made.top_logprobs:
        made.top_logprobs[0] = None
    return made


def _joined(one: types.TextLogprobs, two: types.TextLogprobs) -> types.TextLogprobs:
    return types.TextLogprobs(
        tokens=one.tokens + two.tokens,
        token_logprobs=one.token_logprobs + two.token_logprobs,
        top_logprobs=None if one.top_logprobs is None else one.top_logprobs + (two.top_logprobs or []),
        text_offset=one.text_offset + two.text_offset,
    )
