"""The Engine protocol: takes prompt ids, sampling parameters and an adapter, and returns tokens with log-probabilities.

Engines know nothing about text, messages or HTTP. Importing this module imports no engine and no torch.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class SamplingParams:
    """`temperature` 0 is greedy. Tokens in `stop_ids` end the generation and are not part of it.

    `grammar`: constrains the output, see `scheduling.structured_output`. `closing_tokens`: how many of `max_tokens` are
    reserved to complete JSON that the grammar requires; 0: it is cut off at the token limit.
    """

    max_tokens: int
    stop_ids: frozenset[int]
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int | None = None
    top_logprobs: int = 0
    grammar: str | None = None
    closing_tokens: int = 0


@dataclass(frozen=True)
class EngineRequest:
    """`adapter`: a PEFT folder for the engine's base model, or None for the base model itself."""

    prompt: list[int]
    sampling: SamplingParams
    adapter: Path | None = None


@dataclass(frozen=True)
class Token:
    """`logprob`: natural logarithm, of the model's own distribution at temperature 1; `top`: most likely first."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


# A token, or the end of the generation: None after its last token, or an exception if it failed. There is exactly one
# end.
TokenEvent = Token | Exception | None
OnToken = Callable[[TokenEvent], None]


class TokenStream(Protocol):
    """The handle of a submitted generation; iterate over it for its tokens unless a callback receives them.

    `finish_reason` is set before the end is delivered; `cached_tokens`, the prompt tokens found in the prefix cache,
    before the first token is.
    """

    finish_reason: FinishReason | None
    cached_tokens: int

    def __iter__(self) -> Iterator[Token]: ...

    def cancel(self) -> None:
        """Stop at the next token and free the slot; safe at any time, from any thread."""
        ...


class Embedder(Protocol):
    """Turns token ids into vectors."""

    context_tokens: int

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting or running."""
        ...

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        """Returns a unit vector float [D] for each prompt; for a base model, the normalized mean of its last hidden
        states.

        Raises RateLimitError.
        """
        ...

    def close(self) -> None: ...


class TextEmbedder(Embedder, Protocol):
    """An embedding model with its own tokenizer."""

    @property
    def vocabulary_size(self) -> int: ...

    def text(self, text: str) -> list[int]: ...


class Engine(Embedder, Protocol):
    """One base model in memory, with LoRA adapters loaded on demand.

    `eight_bits`: the base's weights are rounded to 8 bits.
    """

    eight_bits: bool

    def submit(self, request: EngineRequest, on_token: OnToken | None = None) -> TokenStream:
        """Queues a generation.

        `on_token` receives every event in the engine's thread, so it must return at once (`call_soon_threadsafe`, say);
        the first may come before `submit` returns. Without it, iterate over the stream. Raises RateLimitError if the
        queue is full; nothing is delivered then.
        """
        ...

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        """Score the tokens `prompt[start:]`: their log-probabilities, and the `top` most likely tokens at each
        position.

        `start` is at least 1. Raises RateLimitError.
        """
        ...
