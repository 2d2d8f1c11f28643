"""The shape of the code: no import circles, sizes that can be read at once, and each setting read in few files."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import luthier
from luthier.settings import Settings

ROOT = Path(luthier.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 200
MAX_ATTRIBUTES = 12
MAX_FILES_PER_SETTING = 3  # besides settings.py, which defines and validates them
# Records rather than behaviour: wire types, settings, rows and reports may have as many fields as they need.
_RECORD_BASES = {"BaseModel", "BaseSettings", "NamedTuple", "TypedDict"}


def _module(path: Path) -> str:
    return ".".join(("luthier", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {_module(path): path for path in FILES}


def _imports(path: Path) -> Iterator[str]:
    """Modules that are imported when this one is, and those that its functions import later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in submodules]
        yield from (name for name in names if name in MODULES)


def test_no_import_circles() -> None:
    lazy = {"luthier"}  # its public names are imported when they are first used
    graph = {name: set(_imports(path)) - {name} - lazy for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _is_record(node: ast.ClassDef) -> bool:
    decorated = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    return decorated or any(ast.unparse(base).split(".")[-1] in _RECORD_BASES for base in node.bases)


def _attributes(node: ast.ClassDef) -> set[str]:
    return {
        target.attr
        for target in ast.walk(node)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(source)):
        lines = node.end_lineno - node.lineno + 1 if isinstance(node, ast.stmt) and node.end_lineno else 0
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert lines <= MAX_FUNCTION_LINES, node.name
        elif isinstance(node, ast.ClassDef) and node.name != "Settings":
            assert lines <= MAX_CLASS_LINES, node.name
            assert _is_record(node) or len(_attributes(node)) <= MAX_ATTRIBUTES, (node.name, _attributes(node))


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
