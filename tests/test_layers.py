"""The rooms: a line may import only lines below it, and neighbours never import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import luthier

ROOT = Path(luthier.__file__).parent
# From the front door down; rooms on one line are neighbours.
LINES = [
    {"asgi", "cli"},
    {"runtime"},
    {"migrate", "server", "worker"},
    {"catalogue", "evaluation", "generate", "inference", "store", "training"},
    {"arch", "data", "native"},
    {"plugins", "settings", "weights"},
    {"hardware", "language", "types"},
]
LINE_OF = {room: number for number, line in enumerate(LINES) for room in line}


def _room(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.stem if len(relative.parts) == 1 else relative.parts[0]


def _imported(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written in full"
            names = [node.module or ""]
            if node.module == "luthier":
                names = [f"luthier.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("luthier.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = _room(path)
    if room in ("__init__", "__main__"):
        return
    for imported in _imported(path) - {room}:
        assert LINE_OF[imported] > LINE_OF[room], f"{room} may not import {imported}"


def test_every_room_has_a_line() -> None:
    rooms = {_room(path) for path in ROOT.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms == set(LINE_OF)


@pytest.mark.parametrize(
    "module",
    [
        "luthier.server",
        "luthier.worker",
        "luthier.data.check.file_check",
        "luthier.data.rendering.renderer",
        "luthier.cli",
        "luthier.arch",
    ],
)
def test_light_rooms_import_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_worker_knows_only_the_job_folder_and_the_protocol_of_training() -> None:
    """Training runs as a subprocess; the worker shares the job's specification and the typed events with it."""
    allowed = {"luthier.training.job_spec", "luthier.training.protocol"}
    for path in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "luthier.training":
                assert {f"luthier.training.{alias.name}" for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("luthier.training"):
                assert node.module in allowed
