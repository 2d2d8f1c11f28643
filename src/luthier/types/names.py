"""Model names in OpenAI's format: dated snapshots, fine-tuned models, checkpoints.

The settings `base` and `aliases` determine the weights behind a name.
"""

import re
from typing import Literal, get_args

from luthier.types.ids import new_id

# Undated name → the snapshot that a job returns. OpenAI's last list of trainable models, 2026.
SNAPSHOTS = {
    "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
    "gpt-4": "gpt-4-0613",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
}
# Trainable snapshots without an undated name.
OTHER_SNAPSHOTS = ("gpt-3.5-turbo-0613", "gpt-3.5-turbo-1106", "gpt-4o-2024-11-20")
# Models for text completion and embeddings, not for chat.
COMPLETION_NAMES = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
EMBEDDING_NAMES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")

# Prefix of fully fine-tuned models as base models, by their folder in the store; never valid in a request.
TUNED = "tuned:"

TrackerName = Literal["wandb", "tensorboard", "mlflow", "trackio", "swanlab"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)

SUFFIX = re.compile(r"[\w.-]{1,64}")


def snapshot(name: str) -> str:
    """The snapshot of an undated name; any other name is returned unchanged."""
    return SNAPSHOTS.get(name, name)


def completes_text(model: str) -> bool:
    """Whether `model` is a text completion model, or was fine-tuned from one."""
    return (model.split(":")[1] if model.startswith("ft:") else model) in COMPLETION_NAMES


def fine_tuned_name(base: str, organization: str, suffix: str | None) -> str:
    """A new name `ft:BASE:ORGANIZATION:SUFFIX:XXXXXXXX`, with an empty part for no suffix.

    For a fine-tuned `base`, BASE is its own base model, so that names do not nest.
    """
    root = base.split(":")[1] if base.startswith("ft:") else base
    return f"ft:{root}:{organization}:{suffix or ''}:{new_id('', 8)}"


def checkpoint_name(base: str, organization: str, suffix: str | None, step: int) -> str:
    """A new name for the checkpoint after `step`, with its own random part, as at OpenAI."""
    return f"{fine_tuned_name(base, organization, suffix)}:ckpt-step-{step}"
