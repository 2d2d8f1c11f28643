"""Documentation pages with parts that are made from the code, each between two comments that name it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def pages(name: str) -> dict[str, Path]:
    """The reference page `name` by language."""
    return {"en": REFERENCE / f"{name}.md", "zh": REFERENCE / f"{name}.zh-CN.md"}


def fill(page: Path, parts: Mapping[str, str]) -> str:
    """The text of `page` with its generated parts made anew. Raises ValueError for a part without its comments."""
    text = page.read_text(encoding="utf-8")
    for name, content in parts.items():
        opening, closing = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(opening)
        _, end, after = rest.partition(closing)
        if not end:
            raise ValueError(f"{page.name} has no part {name!r}")
        text = before + opening + content + closing + after
    return text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `|` inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
