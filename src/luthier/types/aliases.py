"""Targets of model aliases: a model of the upstream service, a local model, or the first until it is gone."""

import re
from dataclasses import dataclass

UPSTREAM = "upstream:"
SEPARATOR = "|"  # between the upstream model and its local successor

# Fine-tuned models' names, of this server and of others. The only aliases with a colon.
FINE_TUNED = re.compile(r"ft:[\w./:-]+", re.ASCII)


@dataclass(frozen=True)
class AliasTarget:
    """With both, `local` is the successor: it answers once the upstream service no longer has its model."""

    upstream_model: str | None = None
    local: str | None = None


def check_alias_name(name: str) -> None:
    """Raises ValueError."""
    if not name or (":" in name and not FINE_TUNED.fullmatch(name)):
        raise ValueError(
            f"'{name}' cannot be an alias: ':' separates the parts of fine-tuned models' names, and this is not one "
            "(ft:BASE:ORGANIZATION:SUFFIX:ID)"
        )


def parse_target(name: str, text: str) -> AliasTarget:
    """The target of the alias `name`: LOCAL, `upstream:`, `upstream:MODEL`, or one of those two with `|LOCAL`.

    Raises:
        ValueError: For a successor that is empty or upstream itself.
    """
    if not text.startswith(UPSTREAM):
        return AliasTarget(local=text)
    model, separator, successor = text.removeprefix(UPSTREAM).partition(SEPARATOR)
    if separator and (not successor or successor.startswith(UPSTREAM)):
        raise ValueError(f"the alias '{name}' names no local model after '{SEPARATOR}', as in upstream:|MODEL")
    return AliasTarget(model or name, successor or None)
