"""The rooms: a line may import only lines below it, and neighbours never import each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import FILES, PACKAGE, imported_modules, relative

pytestmark = pytest.mark.source

# From the front door down; rooms on one line are neighbours.
LINES = [
    {"asgi", "cli"},
    {"runtime"},
    {"export", "migrate", "server", "worker"},
    {"lineage"},
    {"catalogue", "error_texts", "evaluation", "event_texts", "generate", "inference", "store", "training", "webhooks"},
    {"arch", "data", "native"},
    {"base_config", "plugins", "settings", "weights"},
    {"devices"},
    {"dashboard", "hardware", "types"},
    {"language"},
]
LINE_OF = {room: number for number, line in enumerate(LINES) for room in line}


def _room(path: Path) -> str:
    inner = path.relative_to(PACKAGE)
    return inner.stem if len(inner.parts) == 1 else inner.parts[0]


def _imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if name != "luthier"}


def test_imports_point_down() -> None:
    upward = [
        f"{relative(path)} may not import {imported}"
        for path in FILES
        if (room := _room(path)) not in ("__init__", "__main__")
        for imported in _imported_rooms(path) - {room}
        if LINE_OF[imported] <= LINE_OF[room]
    ]
    assert not upward


def test_every_room_has_a_line() -> None:
    rooms = {_room(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set(LINE_OF)


@pytest.mark.services
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
    for path in (PACKAGE / "worker").rglob("*.py"):
        assert {name for name in imported_modules(path) if name.startswith("luthier.training")} <= allowed
