"""The source of the package, each file read and parsed once per process, for the tests of its shape and words."""

import ast
import gc
from collections import defaultdict
from functools import cache
from pathlib import Path

import luthier

PACKAGE = Path(luthier.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(("luthier", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {_module(path): path for path in FILES}


@cache
def relative(path: Path) -> str:
    """The path inside the package, as failures show it."""
    return path.relative_to(PACKAGE).as_posix()


@cache
def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree."""
    return _trees()[path]


@cache
def _trees() -> dict[Path, list[ast.AST]]:
    """Without the garbage collector, which looks through the growing trees again and again: a quarter of the time."""
    gc.disable()
    try:
        return {path: _walk(ast.parse(source(path))) for path in FILES}
    finally:
        gc.enable()


def _walk(root: ast.AST) -> list[ast.AST]:
    """What `ast.walk` yields, in half the time."""
    tree = [root]
    for node in tree:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                tree.append(value)
            elif isinstance(value, list):
                tree += [element for element in value if isinstance(element, ast.AST)]
    return tree


@cache
def imported_modules(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    names: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{relative(path)}: imports are written in full"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in MODULES else str(node.module) for name in submodules]
    return {name for name in names if name in MODULES}


@cache
def references() -> dict[str, list[str]]:
    """Full dotted name → the places, as `file:line`, that import, call or pass it on, under whatever local name."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        full_names = _full_names(path)
        for node in nodes(path):
            if isinstance(node, ast.Import):
                dotted_names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                dotted_names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Name | ast.Attribute):
                dotted_names = [_dotted(node, full_names)]
            else:
                continue
            for name in dotted_names:
                places[name].append(f"{relative(path)}:{getattr(node, 'lineno', 0)}")
    return places


def _full_names(path: Path) -> dict[str, str]:
    """Local name → full name, of what a file imports, wherever in the file."""
    full_names = {}
    for node in nodes(path):
        if isinstance(node, ast.Import):
            full_names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            full_names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return full_names


def _dotted(node: ast.expr, full_names: dict[str, str]) -> str:
    """`a.b.c` of a chain of attributes; one that begins with another expression begins with `?`."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, full_names)}.{node.attr}"
    return full_names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"
