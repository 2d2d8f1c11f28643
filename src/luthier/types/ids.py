"""Ids in OpenAI's format."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A random id in OpenAI's format, such as `file-` + 24 letters and digits."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))
