"""Model names as OpenAI spells them: dated snapshots, fine-tuned models, checkpoints.

Knows nothing about which weights answer to a name; that is a setting (`aliases`).
"""

import re

from luthier.types.common import new_id

# What a job echoes for an undated name. The names that OpenAI trained, last list of 2026.
SNAPSHOTS = {
    "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
    "gpt-4": "gpt-4-0613",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
}
# Dated names that were trained too and that no undated name stands for.
OTHER_SNAPSHOTS = ("gpt-3.5-turbo-0613", "gpt-3.5-turbo-1106", "gpt-4o-2024-11-20")
# Names of models that complete text or embed it, and were never trained as chat models.
COMPLETION_NAMES = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
EMBEDDING_NAMES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")

# A base model that is itself a fine-tuned model, by its folder in the store; never a name in a request.
TUNED = "tuned:"

SUFFIX = re.compile(r"[\w.-]{1,64}")


def snapshot(name: str) -> str:
    """The dated name for `name`; any other name is its own."""
    return SNAPSHOTS.get(name, name)


def fine_tuned_name(base: str, organization: str, suffix: str | None) -> str:
    """A new `ft:BASE:ORGANIZATION:SUFFIX:XXXXXXXX`; no suffix leaves `::`.

    A base that is itself fine-tuned contributes its own base, so that names do not nest.
    """
    root = base.split(":")[1] if base.startswith("ft:") else base
    return f"ft:{root}:{organization}:{suffix or ''}:{new_id('', 8)}"


def checkpoint_name(base: str, organization: str, suffix: str | None, step: int) -> str:
    """A new name for the checkpoint after `step`; it has letters of its own, as OpenAI's have."""
    return f"{fine_tuned_name(base, organization, suffix)}:ckpt-step-{step}"
