"""Hooks of MkDocs: pages are written for a reader of the repository, and the site shows the same files.

Files outside docs/ that pages link to become pages or downloads below `project/`, and links follow. Lines that a host
of the repository needs and the site does not, the links between languages, are left out.
"""

import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = "project"
OUTSIDE = (
    "README.md",
    "README.zh-CN.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "tests/RINGS.md",
    "tests/rings.py",
    "deploy/luthier.service",
    "deploy/nginx.conf",
)
_LANGUAGE_LINK = re.compile(r"^\[(?:中文|English)\]\([^)]*\)\n", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_TABLE_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")


def on_config(config: Any) -> Any:
    """Pages and what they link to outside docs/, in one folder."""
    pages = ROOT / "build" / "docs_pages"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(ROOT / "docs", pages)
    for name in OUTSIDE:
        target = pages / FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    config.docs_dir = str(pages)
    return config


def on_env(env: Any, config: Any, **_: Any) -> Any:
    """The theme knows Chinese as `zh`, the pages of it as `zh-CN`."""
    config.theme["language"] = config.theme["language"].removesuffix("-CN")
    return env


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    uri = page.file.src_uri
    markdown = _LANGUAGE_LINK.sub("", markdown, count=1)
    markdown = _LINK.sub(lambda link: site_link(uri, link[1]), markdown)
    # GitHub drops the backslash of `\|` in code of a table cell, Python-Markdown keeps it and needs none there.
    return _TABLE_ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), markdown)


def site_link(uri: str, target: str) -> str:
    """A link of the page at `uri` of the site, made from its link `target` in the repository."""
    source = uri.removeprefix(f"{FOLDER}/") if uri.startswith(f"{FOLDER}/") else f"docs/{uri}"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = path.removeprefix("docs/") if path.startswith("docs/") else f"{FOLDER}/{path}"
    return posixpath.relpath(place, posixpath.dirname(uri))
