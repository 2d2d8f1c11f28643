"""`docs/reference/settings.md` is made from the settings; `python tests/docs/test_settings_page.py` makes it anew."""

import json
from pathlib import Path
from typing import Any

import platformdirs

from luthier.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
COMMAND = "python tests/docs/test_settings_page.py"
# Defaults that differ from machine to machine, by what they are.
FOLDERS = {
    Path(platformdirs.user_data_dir("luthier")): "`luthier` in the user data folder",
    Path(platformdirs.user_cache_dir("luthier")): "`luthier` in the user cache folder",
}
HEAD = f"""# Settings of the server

Made from `src/luthier/settings.py` by `{COMMAND}`; change it there.

Each setting is a flag of `luthier serve` and an environment variable; a flag wins over a variable, and both over the
same name in the config file (docs/config.md). Other commands read the variables and the file when they start a server
for themselves, which then listens on loopback, on a free port and with a key of its own.

| flag | variable | default | meaning |
|---|---|---|---|
"""
TAIL = """
Beside these, commands read `OPENAI_BASE_URL` and `OPENAI_API_KEY` to find a server, and `LUTHIER_LANG` (`en`, `zh`)
for their language. `LUTHIER_CPU_TIER` holds every process to a lower CPU tier (docs/serving.md).
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_row(name) for name in Settings.model_fields) + TAIL


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    cells = (f"`--{name.replace('_', '-')}`", f"`LUTHIER_{name.upper()}`", _shown(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _shown(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if default in (None, [], {}):
        return "none"
    if isinstance(default, Path):
        return FOLDERS[default]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"run: {COMMAND}"


def test_every_setting_is_explained() -> None:
    assert all(field.description for field in Settings.model_fields.values())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
