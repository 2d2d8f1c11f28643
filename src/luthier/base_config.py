"""The config.json of a base model folder as plain JSON: the part that describes its text model. Needs no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.types.errors import BaseModelError

MAX_CONTEXT_TOKENS = 65_536  # OpenAI's limit for an example


def read_config(folder: Path) -> dict[str, Any]:
    """The whole document. Raises BaseModelError for one that is missing or no object."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseModelError(f"The config.json of {folder.name} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise BaseModelError(f"The config.json of {folder.name} is no object.")
    return values


def text_section(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the text model: of a checkpoint with several towers, such as vision, those of its `text_config`."""
    text = values.get("text_config")
    if not isinstance(text, Mapping):
        return dict(values)
    shared = {key: values[key] for key in ("tie_word_embeddings",) if key in values}
    return {**text, **shared}


def context_tokens(folder: Path) -> int:
    """The maximum length of an example when training on this base model. Raises BaseModelError."""
    value = text_section(read_config(folder)).get("max_position_embeddings")
    return min(value if isinstance(value, int) and value > 0 else MAX_CONTEXT_TOKENS, MAX_CONTEXT_TOKENS)
