"""Log-probabilities of plain completions, with the offset of each token in the text."""

from collections.abc import Sequence

from luthier.data.rendering.renderer import Renderer
from luthier.inference import Token
from luthier.server.routes.completions.prompts import Prompt
from luthier.types.completions import TextLogprobs


class TextLogprobsWriter:
    """Writes the tokens of one text in order; `offset`: position of the first token, in characters."""

    def __init__(self, renderer: Renderer, top_logprobs: int | None, offset: int) -> None:
        self._renderer, self._decode = renderer, renderer.stream_decoder()
        self._top_logprobs, self._offset = top_logprobs, offset

    def write(self, tokens: Sequence[Token]) -> TextLogprobs:
        """The tokens that follow those of earlier calls."""
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decode(token.id))
        return TextLogprobs(
            tokens=[self._text(token.id) for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[self._top(token) for token in tokens] if self._top_logprobs else None,
            text_offset=offsets,
        )

    def _top(self, token: Token) -> dict[str, float]:
        """The most likely tokens, and the token itself if it is not one of them."""
        return {self._text(other): logprob for other, logprob in (*token.top, (token.id, token.logprob))}

    def _text(self, token: int) -> str:
        """An incomplete character is written as its bytes, as OpenAI does."""
        raw = self._renderer.token_bytes(token)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def prompt_logprobs(prompt: Prompt, renderer: Renderer, top_logprobs: int | None) -> TextLogprobs:
    """Log-probabilities of an echoed prompt; its first token has none."""
    tokens = [Token(prompt.ids[0], 0.0), *prompt.scored]
    logprobs = TextLogprobsWriter(renderer, top_logprobs, offset=0).write(tokens)
    logprobs.token_logprobs[0] = None
    if logprobs.top_logprobs:
        logprobs.top_logprobs[0] = None
    return logprobs


def concatenated(first: TextLogprobs, second: TextLogprobs) -> TextLogprobs:
    return TextLogprobs(
        tokens=first.tokens + second.tokens,
        token_logprobs=first.token_logprobs + second.token_logprobs,
        top_logprobs=None if first.top_logprobs is None else first.top_logprobs + (second.top_logprobs or []),
        text_offset=first.text_offset + second.text_offset,
    )
