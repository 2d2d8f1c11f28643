"""All pages: links and their anchors lead somewhere, each page has a twin in Chinese that says the same, and the site
lists every page."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
BILINGUAL = {"glossary.md"}  # both languages in one table
ENGLISH = [page for page in DOCS if not page.name.endswith(".zh-CN.md") and page.name not in BILINGUAL]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def twin(page: Path) -> Path:
    return page.with_suffix(".zh-CN.md")


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def prose(page: Path) -> str:
    return FENCED.sub("", text(page))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(prose(page)):
        path = page.parent / target if target else page
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.resolve()), f"{target}#{anchor}"


def test_every_page_has_a_twin() -> None:
    assert [name(page) for page in ENGLISH if not twin(page).is_file()] == []
    assert len([page for page in DOCS if page.name.endswith(".zh-CN.md")]) == len(ENGLISH)


@pytest.mark.parametrize("page", [page for page in ENGLISH if twin(page).is_file()], ids=name)
def test_a_page_and_its_chinese_twin_say_the_same(page: Path) -> None:
    """The same headings, tables, lists and links, and the same code, comments and output aside."""
    for pattern in (r"^(#+) ", r"^\|", r"^- ", r"\]\("):
        counts = [len(re.findall(pattern, prose(side), re.MULTILINE)) for side in (page, twin(page))]
        assert counts[0] == counts[1], pattern
    languages = [[language for language, _ in FENCED.findall(text(side))] for side in (page, twin(page))]
    assert languages[0] == languages[1]
    for side, label, other in ((page, "中文", twin(page)), (twin(page), "English", page)):
        assert text(side).splitlines()[2] == f"[{label}]({other.name})", "line 3 leads to the other language"


def test_chinese_pages_link_to_chinese_pages() -> None:
    for page in (path for path in PAGES if path.name.endswith(".zh-CN.md")):
        body = prose(page).partition("\n\n")[2].partition("\n\n")[2]  # after the link to the other language
        for target, _ in LINK.findall(body):
            other = twin(page.parent / target)
            assert not target.endswith(".md") or target.endswith(".zh-CN.md") or not other.is_file(), (page, target)


def test_the_site_lists_every_page() -> None:
    listed = re.findall(r"^ +- [^:\n]+: (\S+\.md)$", text(ROOT / "mkdocs.yml"), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in DOCS if not page.name.endswith(".zh-CN.md")]
    assert sorted(path for path in listed if not path.startswith("project/")) == sorted(pages)


def test_the_page_of_benchmarks_names_every_one() -> None:
    programs = [path for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser(" in text(path)]
    page = text(ROOT / "docs" / "benchmarks.md")
    assert [path.name for path in programs if f"benchmarks/{path.name}" not in page] == []


def test_the_first_page_leads_to_every_other() -> None:
    index = ROOT / "docs" / "index.md"
    targets = {(index.parent / target).resolve() for target, _ in LINK.findall(prose(index)) if target}
    assert [name(page) for page in ENGLISH if page != index and page not in targets] == []
