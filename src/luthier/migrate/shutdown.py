"""Shutdown dates of fine-tuned models.

A `shutdown_date` of `GET /models` is authoritative; without one, the dates that OpenAI and Azure published for the base
model apply. Fine-tuned models are switched off together with their base.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Literal

from luthier.migrate.account import Provider

Source = Literal["account", "published"]
LAST_TRAINING_DAY = {"openai": dt.date(2027, 1, 6)}

# OpenAI's deprecations page, as of November 2026. Aliases and dated names are looked up by their longest prefix.
_OPENAI = {
    "babbage-002": dt.date(2026, 9, 28),
    "davinci-002": dt.date(2026, 9, 28),
    "gpt-3.5-turbo-1106": dt.date(2026, 9, 28),
    "gpt-3.5-turbo": dt.date(2026, 10, 23),
    "gpt-4-0613": dt.date(2026, 10, 23),
    "gpt-4.1-nano": dt.date(2026, 10, 23),
    "o4-mini": dt.date(2026, 10, 23),
    "gpt-4o": dt.date(2027, 1, 14),
    "gpt-4o-mini": dt.date(2027, 1, 14),
    "gpt-4.1": dt.date(2027, 1, 14),
    "gpt-4.1-mini": dt.date(2027, 1, 14),
}
# Azure's page on fine-tuning retirements of July 2026: deployments of fine-tuned models end no earlier than this.
_AZURE = {
    "gpt-4o": dt.date(2027, 10, 1),
    "gpt-4o-mini": dt.date(2027, 10, 1),
    "gpt-4.1": dt.date(2027, 10, 14),
    "gpt-4.1-mini": dt.date(2027, 10, 14),
    "gpt-4.1-nano": dt.date(2027, 10, 14),
    "o4-mini": dt.date(2027, 10, 16),
}
_DATE_SUFFIX = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The last day of a model. `earliest`: the date may still move to a later one."""

    date: dt.date
    source: Source
    earliest: bool = False

    def days_left(self, today: dt.date) -> int:
        return (self.date - today).days


def base_of(model: str) -> str | None:
    """The base in `ft:BASE:ORGANISATION:SUFFIX:ID` or in Azure's `BASE.ft-ID`; None for other names."""
    if model.startswith("ft:"):
        return model.split(":")[1] or None
    base, separator, _ = model.partition(".ft-")
    return base if separator else None


def undated(base: str) -> str:
    """`gpt-4o` for `gpt-4o-2024-08-06`."""
    return _DATE_SUFFIX.sub("", base)


def is_fine_tuned(model: str) -> bool:
    return base_of(model) is not None


def is_checkpoint(model: str) -> bool:
    """Whether a name is that of an intermediate checkpoint, such as `ft:…:ckpt-step-90`."""
    return ":ckpt-step-" in model


def account_date(text: object) -> Shutdown | None:
    """The `shutdown_date` of a model object."""
    try:
        return Shutdown(dt.date.fromisoformat(str(text)[:10]), "account")
    except ValueError:
        return None


def published_date(base: str, provider: Provider) -> Shutdown | None:
    """The published date of a base model; None for models without one."""
    table = _AZURE if provider == "azure" else _OPENAI
    for name in (base, undated(base)):
        if name in table:
            return Shutdown(table[name], "published", earliest=provider == "azure")
    return None
