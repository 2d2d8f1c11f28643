"""A request to generate choices, prepared and running, shared by chat and plain completions."""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from luthier import __version__
from luthier.inference import EngineRequest
from luthier.server.generation.async_bridge import MergedStreams
from luthier.server.generation.choice_stream import ChoiceParser, Part
from luthier.server.generation.tool_calls import CallPolicy
from luthier.server.model_loader import LoadedModel
from luthier.types import chat as types
from luthier.types.common import now


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A request prepared for the engine, with one choice for each of `engine_requests`.

    Attributes:
        prompt_tokens: Of all prompts, for the usage.
        keep_tokens: Whether choices keep their tokens, for log-probabilities.
    """

    id: str
    model: LoadedModel
    engine_requests: Sequence[EngineRequest]
    prompt_tokens: int
    stop_sequences: Sequence[str] = ()
    calls: CallPolicy = field(default_factory=CallPolicy)
    keep_tokens: bool = False
    created: int = field(default_factory=now)

    def usage(self, completion_tokens: int, cached_tokens: int) -> types.Usage:
        return types.Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=self.prompt_tokens + completion_tokens,
            prompt_tokens_details=types.PromptTokensDetails(cached_tokens=cached_tokens),
        )

    @property
    def response_fields(self) -> dict[str, Any]:
        """Fields of the response object and of each of its chunks."""
        target = self.model.target
        weights = f"{target.base} {target.adapter} {__version__}"  # the fingerprint changes with these
        fingerprint = "fp_" + hashlib.sha256(weights.encode()).hexdigest()[:10]
        return {"id": self.id, "created": self.created, "model": target.name, "system_fingerprint": fingerprint}

    def new_parser(self) -> ChoiceParser:
        return ChoiceParser(
            self.model.renderer.stream_decoder(), self.stop_sequences, self.calls, keep_tokens=self.keep_tokens
        )


class RunningRequest:
    """A request of which all or some choices run on the engine."""

    def __init__(self, request: GenerationRequest, first: int = 0, count: int | None = None) -> None:
        """Submit `count` choices from index `first` on; None: all remaining ones. Raises RateLimitError."""
        self._request, self._first = request, first
        stop = None if count is None else first + count
        self._merged = MergedStreams(request.model.engine, request.engine_requests[first:stop])
        self.completion_tokens = 0

    @property
    def cached_tokens(self) -> int:
        """The number of prompt tokens of the first choice that came from the prefix cache."""
        return self._merged.streams[0].cached_tokens if self._merged.streams else 0

    @property
    def usage(self) -> types.Usage:
        return self._request.usage(self.completion_tokens, self.cached_tokens)

    def cancel(self) -> None:
        self._merged.cancel()

    async def parts(self) -> AsyncGenerator[tuple[int, Part]]:
        """Yields (index of the choice, its next part); the last part of each choice is a Finish.

        Raises what the engine raises.
        """
        streams = self._merged.streams
        parsers = [self._request.new_parser() for _ in streams]
        async with aclosing(self._merged.tokens()) as tokens:
            async for index, token in tokens:
                parser, stream = parsers[index], streams[index]
                if parser.finished:
                    continue  # tokens that were delivered before a stop sequence cancelled the stream
                if token is not None:
                    self.completion_tokens += 1
                    for delta in parser.feed(token):
                        yield self._first + index, delta
                if token is None or parser.stopped:
                    stream.cancel()
                    for part in parser.finish(stream.finish_reason):
                        yield self._first + index, part
                    if all(parser.finished for parser in parsers):
                        return
