"""The rooms of the server: an import points to the same room or to one below it."""

import ast
from pathlib import Path

import pytest

import luthier.server

ROOT = Path(luthier.server.__file__).parent
# From the application down; rooms on one line are neighbors and never import each other.
LINES = [
    {"app"},
    {"background", "middleware", "monitoring", "routes"},
    {"file_inspection", "generation"},
    {"state"},
    {"model_loader"},
    {"model_resolver", "model_exports", "hosting"},
    {"http"},
]
LINE_OF = {room: number for number, line in enumerate(LINES) for room in line}


def _imports(path: Path) -> set[str]:
    """The rooms of the server that a file imports."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("luthier.server"):
            parts = (node.module or "").split(".")
            rooms |= {parts[2]} if len(parts) > 2 else {alias.name for alias in node.names}
    return rooms


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for imported in _imports(path) - {room}:
        assert LINE_OF[imported] > LINE_OF[room], f"{room} may not import {imported}"
