"""Prompts of completions and inputs of embeddings: one or several, each as text or as token ids."""

from collections.abc import Sequence
from typing import Protocol

from luthier.types.errors import BadRequestError

PromptInput = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
_CHARACTERS_PER_CONTEXT_TOKEN = 16  # hardly any text that fits into the context has more


class TextTokenizer(Protocol):
    """A model's tokenizer for plain text."""

    @property
    def vocabulary_size(self) -> int: ...

    def text(self, text: str) -> list[int]: ...


def tokenize_inputs(inputs: PromptInput, tokenizer: TextTokenizer, context_tokens: int, param: str) -> list[list[int]]:
    """The token ids of each input.

    Raises BadRequestError for ids outside the vocabulary, and for text far longer than `context_tokens`; the caller
    checks the exact length.
    """
    if isinstance(inputs, str):
        return [_tokenize(inputs, tokenizer, context_tokens)]
    if inputs and isinstance(inputs[0], int):
        return [_check_ids(inputs, tokenizer, param)]
    return [
        _tokenize(entry, tokenizer, context_tokens)
        if isinstance(entry, str)
        else _check_ids(entry, tokenizer, f"{param}[{index}]")
        for index, entry in enumerate(inputs)
    ]


def exceeds_twice_context(text: str, tokenizer: TextTokenizer, context_tokens: int) -> bool:
    """Whether a text has more than twice as many tokens as the context, determined from its beginning only.

    Tokenizing blocks the whole server for one second per megabyte, so a text that will be rejected anyway is not
    tokenized completely.
    """
    chunk, tokens = _CHARACTERS_PER_CONTEXT_TOKEN * context_tokens, 0
    if len(text) <= chunk:
        return False
    for start in range(0, len(text), chunk):
        tokens += len(tokenizer.text(text[start : start + chunk]))
        if tokens > 2 * context_tokens:  # twice, because each chunk may add special tokens and split a token
            return True
    return False


def check_text_length(text: str, tokenizer: TextTokenizer, context_tokens: int) -> None:
    """Raises BadRequestError for a text with more than twice as many tokens as the context."""
    if exceeds_twice_context(text, tokenizer, context_tokens):
        raise BadRequestError(
            f"This model's maximum context length is {context_tokens} tokens, however you requested more than "
            f"{2 * context_tokens} tokens in your prompt. Please reduce your prompt; or completion length."
        )


def check_context_length(context_tokens: int, prompt_tokens: int, completion_tokens: int) -> None:
    """Raises BadRequestError if a prompt and its completion exceed the context."""
    requested = prompt_tokens + completion_tokens
    if requested > context_tokens:
        raise BadRequestError(
            f"This model's maximum context length is {context_tokens} tokens, however you requested {requested} "
            f"tokens ({prompt_tokens} in your prompt; {completion_tokens} for the completion). Please reduce your "
            "prompt; or completion length."
        )


def _tokenize(text: str, tokenizer: TextTokenizer, context_tokens: int) -> list[int]:
    check_text_length(text, tokenizer, context_tokens)
    return tokenizer.text(text)


def _check_ids(ids: object, tokenizer: TextTokenizer, param: str) -> list[int]:
    tokens = [token for token in ids if isinstance(token, int)] if isinstance(ids, Sequence) else []
    size = tokenizer.vocabulary_size
    unknown = next((token for token in tokens if not 0 <= token < size), None)
    if unknown is not None:
        raise BadRequestError(
            f"Invalid '{param}': this model has no token {unknown}; its token ids are below {size}. "
            "Ids of another model's tokenizer mean other texts here: send the text instead.",
            param=param,
            code="invalid_value",
        )
    return tokens
