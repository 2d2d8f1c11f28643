"""Log-probabilities of a choice's tokens, in the format of chat completions and responses."""

from collections.abc import Sequence

from luthier.data.rendering.renderer import Renderer
from luthier.inference import Token
from luthier.types import chat as types

_MIN_LOGPROB = -9999.0  # OpenAI's value for a token that is practically impossible


def token_logprobs(tokens: Sequence[Token], renderer: Renderer) -> types.Logprobs:
    return types.Logprobs(
        content=[
            types.TokenLogprob(
                **_top_logprob(token.id, token.logprob, renderer).model_dump(),
                top_logprobs=[_top_logprob(other, logprob, renderer) for other, logprob in token.top],
            )
            for token in tokens
        ]
    )


def _top_logprob(token: int, logprob: float, renderer: Renderer) -> types.TopLogprob:
    raw = renderer.token_bytes(token)
    text = raw.decode("utf-8", "replace")
    return types.TopLogprob(token=text, logprob=max(logprob, _MIN_LOGPROB), bytes=list(raw))
