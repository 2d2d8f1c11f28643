"""The log of long-running commands: one line per event, on stderr, as text or as JSON."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal

import click

from luthier.language import say
from luthier.settings import Settings
from luthier.types.renamed_settings import RENAMED

_PREFIX = "LUTHIER_"
_OTHER_VARIABLES = {"LUTHIER_LANG", "LUTHIER_CONFIG", "LUTHIER_CPU_TIER"}


def configure_logging(level: str, log_format: Literal["text", "json"]) -> Callable[[str], None]:
    """Configures logging: Luthier's messages from `level` on, and only the warnings of libraries.

    Returns a function that writes a line about the command itself, such as its address, in the same format.
    """
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    logger = logging.getLogger("luthier")
    logger.setLevel(level.upper())
    announce = partial(click.echo, err=True) if log_format == "text" else logger.info
    for warning in unknown_variables():
        announce(warning)
    return announce


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object: `time` (ISO 8601, UTC), `level`, `logger`, `message`, and its own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def unknown_variables(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A warning for each variable that looks like a setting but is none, with the most similar setting."""
    names = {_PREFIX + name.upper() for name in (*Settings.model_fields, *RENAMED)} | _OTHER_VARIABLES
    for variable in sorted(environment):
        if variable.startswith(_PREFIX) and variable not in names:
            similar = get_close_matches(variable, names, n=1, cutoff=0.75)
            meant = say(f" Did you mean {similar[0]}?", f"是否指 {similar[0]}？") if similar else ""
            yield say(f"{variable} is not a setting of Luthier and has no effect.{meant}",
                      f"{variable} 不是 Luthier 的设置，没有作用。{meant}")  # fmt: skip
