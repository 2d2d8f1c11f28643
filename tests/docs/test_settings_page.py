"""`docs/reference/settings.md` lists the settings; `python tests/docs/test_settings_page.py` makes the list anew."""

import json
import sys
from pathlib import Path
from typing import Any

import platformdirs
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

from generated_pages import fill, pages, table
from luthier.cli.settings_texts import CHINESE
from luthier.settings import Settings

PAGES = pages("settings")
COMMAND = "python tests/docs/test_settings_page.py"
HEADERS = {"en": ("flag", "variable", "default", "meaning"), "zh": ("选项", "环境变量", "默认值", "含义")}
NONE = {"en": "none", "zh": "无"}
# Defaults that differ from machine to machine, by what they are.
FOLDERS = {
    Path(platformdirs.user_data_dir("luthier")): {
        "en": "`luthier` in the user data folder",
        "zh": "用户数据文件夹中的 `luthier`",
    },
    Path(platformdirs.user_cache_dir("luthier")): {
        "en": "`luthier` in the user cache folder",
        "zh": "用户缓存文件夹中的 `luthier`",
    },
}


def page(language: str) -> str:
    rows = (_row(name, language) for name in Settings.model_fields)
    return fill(PAGES[language], {"settings": table(HEADERS[language], rows)})


def _row(name: str, language: str) -> tuple[str, ...]:
    field = Settings.model_fields[name]
    meaning = field.description or "" if language == "en" else CHINESE[name]
    return f"`--{name.replace('_', '-')}`", f"`LUTHIER_{name.upper()}`", _default(field, language), meaning


def _default(field: Any, language: str) -> str:
    default = field.get_default(call_default_factory=True)
    if default in (None, [], {}):
        return NONE[language]
    if isinstance(default, Path):
        return FOLDERS[default][language]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


@pytest.mark.parametrize("language", PAGES)
def test_the_page_is_what_the_settings_say(language: str) -> None:
    assert PAGES[language].read_text(encoding="utf-8") == page(language), f"run: {COMMAND}"


def test_every_setting_is_explained() -> None:
    assert all(field.description for field in Settings.model_fields.values())


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
