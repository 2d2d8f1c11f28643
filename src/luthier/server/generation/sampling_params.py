"""The engine's sampling parameters of a request."""

from collections.abc import Mapping, Sequence

from luthier.inference import SamplingParams
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.completions import CreateCompletionRequest
from luthier.types.errors import BadRequestError

_MAX_TOKEN_ID_DIGITS = 19


def sampling_params(
    body: CreateChatCompletionRequest | CreateCompletionRequest,
    *,
    n: int,
    max_tokens: int,
    stop_ids: frozenset[int],
    vocabulary_size: int,
    top_logprobs: int,
    grammar: str | None = None,
    closing_tokens: int = 0,
) -> list[SamplingParams]:
    """The parameters of each of `n` choices of a prompt, which differ in their seeds. Raises BadRequestError."""
    return [
        SamplingParams(
            max_tokens=max_tokens,
            stop_ids=stop_ids,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias=_logit_bias(body.logit_bias, vocabulary_size),
            seed=None if body.seed is None else body.seed + index,
            top_logprobs=top_logprobs,
            grammar=grammar,
            closing_tokens=closing_tokens,
        )
        for index in range(n)
    ]


def _logit_bias(bias_by_id: Mapping[str, float] | None, vocabulary_size: int) -> dict[int, float]:
    """Raises BadRequestError."""
    for token in bias_by_id or {}:
        if not (token.isascii() and token.isdecimal() and len(token) <= _MAX_TOKEN_ID_DIGITS):
            message = f"Invalid key in 'logit_bias': {token[:40]}. Keys must be token ids of this model."
            raise BadRequestError(message, param="logit_bias", code="invalid_value")
        if int(token) >= vocabulary_size:
            message = (
                f"Invalid key in 'logit_bias': this model has no token {token}; its token ids are below "
                f"{vocabulary_size}. Ids of another model's tokenizer mean other texts here."
            )
            raise BadRequestError(message, param="logit_bias", code="invalid_value")
    return {int(token): bias for token, bias in (bias_by_id or {}).items()}


def stop_sequences(stop: str | Sequence[str] | None) -> Sequence[str]:
    return [stop] if isinstance(stop, str) else stop or []
