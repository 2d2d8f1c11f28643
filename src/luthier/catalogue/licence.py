"""The licence of a base model as its model card's front matter states it."""

import re
from pathlib import Path

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_ENTRY = re.compile(r"^(license_name|license):[ \t]*[\"']?([^\"'\n]+?)[\"']?[ \t]*$", re.MULTILINE)
_MAX_CARD_BYTES = 200_000


def licence_of(folder: Path) -> str:
    """By the README.md of a model folder; empty where it has none or does not say."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            front_matter = _FRONT_MATTER.match(card.read(_MAX_CARD_BYTES))
    except OSError:
        return ""
    entries = dict(_ENTRY.findall(front_matter[1])) if front_matter else {}
    return str(entries.get("license_name") or entries.get("license", ""))
