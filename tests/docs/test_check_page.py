"""`docs/reference/check.md` lists the catalogue; `python tests/docs/test_check_page.py` makes the list anew."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

from generated_pages import fill, pages, table
from luthier.data.findings import all_kinds
from luthier.data.findings.kinds import Kind

PAGES = pages("check")
COMMAND = "python tests/docs/test_check_page.py"
ORDER = ("error", "warning", "note")
HEADERS = {"en": ("code", "severity", "what", "remedy"), "zh": ("代码", "级别", "问题", "处理办法")}
SEVERITIES = {"en": dict(zip(ORDER, ORDER, strict=True)), "zh": {"error": "错误", "warning": "警告", "note": "提示"}}
# The placeholders of sentences, as a reader of the page may see them.
WORDS = {"value": "…", "detail": "…", "key": "key", "line": "n", "message": "n", "example": "n"}


def page(language: str) -> str:
    rows = [
        (f"`{code}`", SEVERITIES[language][severity], *map(_cell, _sentences(kind, language)))
        for severity in ORDER
        for code, kind in all_kinds().items()
        if kind.severity == severity
    ]
    return fill(PAGES[language], {"codes": table(HEADERS[language], rows)})


def _sentences(kind: Kind, language: str) -> tuple[str, str]:
    return (kind.en, kind.remedy_en) if language == "en" else (kind.zh, kind.remedy_zh)


def _cell(sentence: str) -> str:
    filled = re.sub(r"{(\w+)[^}]*}", lambda field: WORDS[field[1]], sentence.replace("{{", "\1").replace("}}", "\2"))
    return filled.replace("\1", "{").replace("\2", "}").replace("<", "&lt;")


@pytest.mark.parametrize("language", PAGES)
def test_the_page_is_current(language: str) -> None:
    assert PAGES[language].read_text(encoding="utf-8") == page(language), f"run: {COMMAND}"


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
