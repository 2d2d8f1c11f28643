"""The words of docs/glossary.md: names that say what a thing is, phrases that the field uses, pointers that exist."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from source_tree import FILES, PACKAGE, nodes

pytestmark = pytest.mark.source

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = (".github", "docs", "examples")

# They only point at something, or name nothing at all.
POINTING = set(
    re.split(
        " ",
        "one found made at asked said given wanted known kept told taken shown seen got held "
        "item thing stuff obj tmp val res ret data1",
    )
)
MAX_SHARE = 0.01

# Phrases, never single words: each has a term in the glossary.
BANNED = (
    "the processor",
    "matrix unit",
    "number format",
    "under way",
    "service elsewhere",
    "services elsewhere",
    "model elsewhere",
    "texts that were read",
    "text that was read",
    "longest unused",
    "trained whole",
    "held to a grammar",
    "keys and values in blocks",
    "adapters side by side",
    "let in beyond",
    "layers are computed twice",
    "beginnings that are alike",
    "makes its gradient on the way forward",
    "what it is asked",
    "what it says",
    "gives back memory",
    "is nobody's",
    "computed a second time on the way back",
    "what was read before",
    "工具定义",
    "工具调用",
    "已保存的补全",
    "评判模型",
)
_BANNED = re.compile(
    "|".join(re.escape(phrase).replace(r"\ ", r"\s+(?:[#*/]+\s+)?") for phrase in BANNED), re.IGNORECASE
)


def _names(path: Path) -> Iterator[str]:
    """Parameters, variables and attributes, once for each place that binds them; not `self` and `cls`."""
    tree = nodes(path) if path in FILES else ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    for node in tree:
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_names_say_what_a_thing_is(folder: str) -> None:
    files = FILES if folder == "src" else sorted((ROOT / folder).rglob("*.py"))
    names = Counter(name.strip("_") for path in files for name in _names(path))
    del names["self"], names["cls"]
    pointing = {name: names[name] for name in POINTING if names[name]}
    assert sum(pointing.values()) <= MAX_SHARE * names.total(), pointing


def _texts() -> list[Path]:
    code = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".cpp", ".h", ".js", ".jinja"}]
    pages = [*ROOT.glob("*.md"), *(path for folder in PAGES for path in (ROOT / folder).rglob("*.md"))]
    return sorted([*code, *(page for page in pages if page != GLOSSARY and page.name != "CHANGELOG.md")])


def test_phrases_are_those_of_the_field() -> None:
    hits = []
    for path in _texts():
        text = path.read_text(encoding="utf-8")
        for match in _BANNED.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            hits.append(f"{path.relative_to(ROOT)}, line {line}: {match[0]!r}")
    assert not hits, "docs/glossary.md has the terms to use"


def _rows() -> list[list[str]]:
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] != "term"]


def test_glossary_terms_are_whole() -> None:
    broken = [row[0] for row in _rows() if len(row) != 6 or not all(row)]
    assert not broken, "every cell is filled: term, 术语, meaning, 含义, not, in code"


def _exists(pointer: str) -> bool:
    """Whether the package has the file, and the file the class, of a pointer `path` or `path::Class`."""
    path, _, name = pointer.partition("::")
    file = PACKAGE / path
    if not name or not file.exists():
        return file.exists()
    return name in {node.name for node in nodes(file) if isinstance(node, ast.ClassDef)}


def test_the_code_of_glossary_terms_exists() -> None:
    pointers = [pointer for row in _rows() for pointer in re.findall(r"`([^`]+)`", row[5])]
    assert pointers
    assert [pointer for pointer in pointers if not _exists(pointer)] == []


def test_every_term_is_there_once() -> None:
    terms = Counter(row[0] for row in _rows())
    assert [term for term, count in terms.items() if count > 1] == []
