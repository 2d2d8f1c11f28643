"""Targets of model aliases: a model of the upstream service, a local model, or the first until it is gone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from luthier.types.projects import DEFAULT_PROJECT

UPSTREAM = "upstream:"
SEPARATOR = "|"  # between the upstream model, its local successor and the successor's share

# Names of fine-tuned models, of this server and of others; the only aliases with a colon.
FINE_TUNED = re.compile(r"ft:[\w./:-]+", re.ASCII)


@dataclass(frozen=True)
class AliasTarget:
    """The target of an alias. If both models are set, `local` is the successor: it answers all requests once the
    upstream service no longer has its model, and before that a `share` (0 to 1) of them.
    """

    upstream_model: str | None = None
    local: str | None = None
    share: float = 0.0


def project_and_name(entry: str) -> tuple[str | None, str]:
    """Project and name of the alias `proj_NAME=ALIAS`; None: all projects."""
    match = re.fullmatch(rf"({DEFAULT_PROJECT}|proj_[\w-]+)=(.+)", entry, re.ASCII | re.DOTALL)
    return (match[1], match[2]) if match else (None, entry)


def check_alias_name(name: str) -> None:
    """Raises ValueError."""
    if not name or (":" in name and not FINE_TUNED.fullmatch(name)):
        raise ValueError(
            f"'{name}' cannot be an alias: ':' separates the parts of fine-tuned models' names, and this is not one "
            "(ft:BASE:ORGANIZATION:SUFFIX:ID)"
        )


def parse_target(name: str, text: str) -> AliasTarget:
    """Parse the target of the alias `name`: LOCAL, `upstream:`, `upstream:MODEL`, or one of the latter two followed by
    `|LOCAL` or `|LOCAL|0.1`, where LOCAL answers that share of the requests.

    Raises:
        ValueError: For a successor that is empty or upstream itself, and for a share that is not from 0 to 1.
    """
    if not text.startswith(UPSTREAM):
        return AliasTarget(local=text)
    model, separator, rest = text.removeprefix(UPSTREAM).partition(SEPARATOR)
    successor, has_share, share = rest.partition(SEPARATOR)
    if separator and (not successor or successor.startswith(UPSTREAM)):
        raise ValueError(f"the alias '{name}' names no local model after '{SEPARATOR}', as in upstream:|MODEL")
    return AliasTarget(model or name, successor or None, _parse_share(name, share) if has_share else 0.0)


def dated_upstream_models(aliases: Mapping[str, str]) -> list[str]:
    """Return the upstream models of `aliases` whose shutdown date matters: fine-tuned ones, and those with a local
    successor.
    """
    targets = [parse_target(project_and_name(entry)[1], target) for entry, target in aliases.items()]
    return sorted(
        {
            target.upstream_model
            for target in targets
            if target.upstream_model and (target.local or target.upstream_model.startswith("ft:"))
        }
    )


def write_target(target: AliasTarget) -> str:
    """The text of a target, as `parse_target` reads it."""
    if target.upstream_model is None:
        return target.local or ""
    successor = SEPARATOR + target.local if target.local else ""
    share = f"{SEPARATOR}{target.share:g}" if target.local and target.share else ""
    return UPSTREAM + target.upstream_model + successor + share


def _parse_share(name: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"the alias '{name}' has the share '{text}', which is not a number from 0 to 1")
    return share
