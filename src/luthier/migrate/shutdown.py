"""Shutdown dates of fine-tuned models, with their source.

A `shutdown_date` in `GET /models` is authoritative. Without one, the date that the service has published for the base
model applies, since fine-tuned models are switched off together with their base. If the service names only a family of
models, or several dates without saying which applies, the date is inferred.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Literal

from luthier.migrate.account import Provider

Source = Literal["account", "published", "inferred"]

# From OpenAI's deprecations page, as of November 2026. Other snapshots of a family take its date, as inferred.
_OPENAI = {
    "babbage-002": dt.date(2026, 9, 28),
    "davinci-002": dt.date(2026, 9, 28),
    "gpt-3.5-turbo-1106": dt.date(2026, 9, 28),
    "gpt-3.5-turbo": dt.date(2026, 10, 23),
    "gpt-4-0613": dt.date(2026, 10, 23),
    "gpt-4.1-nano": dt.date(2026, 10, 23),
    "o4-mini": dt.date(2026, 10, 23),
    **dict.fromkeys(("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"), dt.date(2027, 1, 14)),
    **dict.fromkeys(("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), dt.date(2027, 1, 14)),
    **dict.fromkeys(("gpt-4.1", "gpt-4.1-2025-04-14"), dt.date(2027, 1, 14)),
    **dict.fromkeys(("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"), dt.date(2027, 1, 14)),
}
# According to Azure's page of July 2026, deployments of fine-tuned models end on three days of October 2027 at the
# earliest. Which base ends on which day is inferred.
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
    """The last day of a model or of training; `earliest` if the service may still postpone it."""

    date: dt.date
    source: Source
    earliest: bool = False

    def days_left(self, today: dt.date) -> int:
        return (self.date - today).days


LAST_TRAINING_DAY: dict[Provider, Shutdown] = {
    "openai": Shutdown(dt.date(2027, 1, 6), "published"),
    "azure": Shutdown(dt.date(2027, 4, 1), "published", earliest=True),  # for customers who have trained there before
}


def base_of(model: str) -> str | None:
    """The base in `ft:BASE:ORGANIZATION:SUFFIX:ID` or in Azure's `BASE.ft-ID`; None for other names."""
    if model.startswith("ft:"):
        return model.split(":")[1] or None
    base, separator, _ = model.partition(".ft-")
    return base if separator else None


def undated(base: str) -> str:
    """The model name without its date: `gpt-4o` for `gpt-4o-2024-08-06`."""
    return _DATE_SUFFIX.sub("", base)


def is_fine_tuned(model: str) -> bool:
    return base_of(model) is not None


def is_checkpoint(model: str) -> bool:
    """Whether a name, such as `ft:…:ckpt-step-90`, is that of a checkpoint."""
    return ":ckpt-step-" in model


def account_date(text: object) -> Shutdown | None:
    """The shutdown date in a model's `shutdown_date`; None if it is not a date."""
    try:
        return Shutdown(dt.date.fromisoformat(str(text)[:10]), "account")
    except ValueError:
        return None


def published_date(base: str, provider: Provider) -> Shutdown | None:
    """The shutdown date that the service has published for a base model; None if there is none."""
    if provider == "azure":
        date = _AZURE.get(base) or _AZURE.get(undated(base))
        return Shutdown(date, "inferred", earliest=True) if date else None
    if base in _OPENAI:
        return Shutdown(_OPENAI[base], "published")
    date = _OPENAI.get(undated(base))
    return Shutdown(date, "inferred") if date else None
