"""The reasons why a recorded job cannot be trained again with Luthier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.language import say
from luthier.migrate.inventory import JobEntry


def has_images(training_file: Path) -> bool:
    """Whether any example of the file contains an image."""
    with training_file.open("rb") as lines:
        return any(b'"image_url"' in line for line in lines)


def reason_untrainable(job: Mapping[str, Any], *, has_images: bool) -> str | None:
    """Why a job cannot be trained again; None if it can."""
    method = JobEntry(dict(job)).method
    if method not in ("supervised", "dpo"):
        return say(f"the method {method} is not trained here", f"Luthier 不支持训练方法 {method}")
    if has_images:
        return say("trained on images, which Luthier cannot train on", "用图像训练，Luthier 不能用图像训练")
    return None
