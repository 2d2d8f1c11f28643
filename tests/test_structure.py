"""The structure of the source: who reads which setting."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import luthier
from luthier.settings import Settings

ROOT = Path(luthier.__file__).parent
MAX_FILES_PER_SETTING = 3  # besides settings.py, which defines and validates them


def _settings_read(path: Path) -> Iterator[str]:
    """Names read from settings: attributes of `settings`, `self._settings`, `state.settings`, `Settings()` ..."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or node.attr not in Settings.model_fields:
            continue
        owner = node.value.func if isinstance(node.value, ast.Call) else node.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if name.strip("_").lower() == "settings":
            yield node.attr


def test_a_setting_is_read_in_at_most_three_files() -> None:
    """One place turns a setting into an options object; the rest of a room receives that."""
    readers: dict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        for name in _settings_read(path):
            readers[name].add(str(path.relative_to(ROOT)))
    crowded = {name: sorted(files) for name, files in readers.items() if len(files) > MAX_FILES_PER_SETTING}
    assert not crowded


def test_every_setting_is_read_somewhere() -> None:
    used = {name for path in ROOT.rglob("*.py") for name in _settings_read(path)}
    source = (ROOT / "settings.py").read_text(encoding="utf-8")
    assert {name for name in Settings.model_fields if name not in used and f"self.{name}" not in source} == set()
