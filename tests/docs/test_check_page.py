"""`docs/reference/check.md` lists the catalogue; `python tests/docs/test_check_page.py` makes the list anew."""

import re
from pathlib import Path

from luthier.data.findings import all_kinds

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "check.md"
OPENING, CLOSING = "<!-- codes: made by python tests/docs/test_check_page.py -->\n", "<!-- end of codes -->\n"
ORDER = ("error", "warning", "note")
# The placeholders of sentences, as a reader of the page may see them.
WORDS = {"value": "…", "detail": "…", "key": "key", "line": "n", "message": "n", "example": "n"}


def table() -> str:
    rows = [
        f"| `{code}` | {kind.severity} | {_cell(kind.en)} | {_cell(kind.remedy_en)} |\n"
        for severity in ORDER
        for code, kind in all_kinds().items()
        if kind.severity == severity
    ]
    return "| code | severity | what | remedy |\n|---|---|---|---|\n" + "".join(rows)


def _cell(sentence: str) -> str:
    filled = re.sub(r"{(\w+)[^}]*}", lambda found: WORDS[found[1]], sentence.replace("{{", "\1").replace("}}", "\2"))
    return filled.replace("\1", "{").replace("\2", "}").replace("|", "\\|").replace("<", "&lt;")


def page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(OPENING)
    return before + OPENING + table() + CLOSING + rest.split(CLOSING)[1]


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
