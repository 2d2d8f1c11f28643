"""Texts as completions and embeddings take them: one or several, as text or as token ids."""

from collections.abc import Sequence
from typing import Protocol

from luthier.types.errors import BadRequestError

Texts = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


class TextReader(Protocol):
    """A model's tokenizer."""

    @property
    def vocabulary_size(self) -> int: ...

    def text(self, text: str) -> list[int]: ...


def token_ids(given: Texts, reader: TextReader, context: int, param: str) -> list[list[int]]:
    """The token ids of each text. Raises BadRequestError for ids that this model does not have, and for texts that are
    far longer than its `context` tokens; who calls checks the rest of the length.
    """
    if isinstance(given, str):
        return [_read(given, reader, context)]
    if given and isinstance(given[0], int):
        return [_checked(given, reader, param)]
    return [
        _read(one, reader, context) if isinstance(one, str) else _checked(one, reader, f"{param}[{at}]")
        for at, one in enumerate(given)
    ]


def far_too_long(text: str, reader: TextReader, context: int) -> bool:
    """Whether a text has more than twice the tokens that the model has room for, seen from its beginning.

    A tokenizer keeps the whole server waiting, a second for each megabyte, so it is not given what is refused anyway.
    """
    piece, seen = 16 * context, 0  # characters: hardly a text of more than so many fits
    if len(text) <= piece:
        return False
    for begin in range(0, len(text), piece):
        seen += len(reader.text(text[begin : begin + piece]))
        if seen > 2 * context:  # cuts, and special tokens around the pieces, make some more of them
            return True
    return False


def check_text(text: str, reader: TextReader, context: int) -> None:
    """Raises BadRequestError."""
    if far_too_long(text, reader, context):
        raise BadRequestError(
            f"This model's maximum context length is {context} tokens, however you requested more than {2 * context} "
            "tokens in your prompt. Please reduce your prompt; or completion length."
        )


def _read(text: str, reader: TextReader, context: int) -> list[int]:
    check_text(text, reader, context)
    return reader.text(text)


def check_room(context: int, prompt: int, completion: int) -> None:
    """Raises BadRequestError when a prompt of so many tokens and its completion do not fit."""
    if prompt + completion > context:
        raise BadRequestError(
            f"This model's maximum context length is {context} tokens, however you requested {prompt + completion} "
            f"tokens ({prompt} in your prompt; {completion} for the completion). Please reduce your prompt; or "
            "completion length."
        )


def _checked(ids: object, reader: TextReader, param: str) -> list[int]:
    made = [token for token in ids if isinstance(token, int)] if isinstance(ids, Sequence) else []
    wrong = next((token for token in made if not 0 <= token < reader.vocabulary_size), None)
    if wrong is not None:
        raise BadRequestError(
            f"Invalid '{param}': this model has no token {wrong}; its token ids are below {reader.vocabulary_size}. "
            "Ids of another model's tokenizer mean other texts here: send the text instead.",
            param=param,
            code="invalid_value",
        )
    return made
