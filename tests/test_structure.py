"""The shape of the code: no import circles, sizes that can be read at once, and each setting read in few files."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from luthier.settings import Settings
from rings import TESTS, is_collected, ring_of_file
from source_tree import FILES, MODULES, PACKAGE, imported_modules, nodes, relative, source

pytestmark = pytest.mark.source

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 200
MAX_ATTRIBUTES = 12
MAX_FILES_PER_SETTING = 3  # besides settings.py, which defines and validates them
# Records rather than behaviour: wire types, settings, rows and reports may have as many fields as they need.
_RECORD_BASES = {"BaseModel", "BaseSettings", "NamedTuple", "TypedDict"}
# What reads and writes the database.
_STORE_NAMES = {"store", "_store", "models", "audit_log", "idempotency_keys", "managed"}


def test_no_import_circles() -> None:
    lazy = {"luthier"}  # its public names are imported when they are first used
    graph = {name: imported_modules(path) - {name} - lazy for name, path in MODULES.items()}
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


def _oversized(path: Path) -> Iterator[str]:
    lines = source(path).count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{relative(path)}: {lines} lines"
    for node in nodes(path):
        lines = node.end_lineno - node.lineno + 1 if isinstance(node, ast.stmt) and node.end_lineno else 0
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines > MAX_FUNCTION_LINES:
            yield f"{relative(path)}: {node.name} has {lines} lines"
        elif isinstance(node, ast.ClassDef) and node.name != "Settings":
            if lines > MAX_CLASS_LINES:
                yield f"{relative(path)}: {node.name} has {lines} lines"
            if not _is_record(node) and len(_attributes(node)) > MAX_ATTRIBUTES:
                yield f"{relative(path)}: {node.name} has {len(_attributes(node))} attributes"


def test_sizes() -> None:
    assert [problem for path in FILES for problem in _oversized(path)] == []


def _settings_read(path: Path) -> Iterator[str]:
    """Names read from settings: attributes of `settings`, `self._settings`, `state.settings`, `Settings()` ..."""
    for node in nodes(path):
        if not isinstance(node, ast.Attribute) or node.attr not in Settings.model_fields:
            continue
        owner = node.value.func if isinstance(node.value, ast.Call) else node.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if name.strip("_").lower() == "settings":
            yield node.attr


def test_a_setting_is_read_in_at_most_three_files() -> None:
    """One place turns a setting into an options object; the rest of a room receives that."""
    readers: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        for name in _settings_read(path):
            readers[name].add(relative(path))
    crowded = {name: sorted(files) for name, files in readers.items() if len(files) > MAX_FILES_PER_SETTING}
    assert not crowded


def test_every_setting_is_read_somewhere() -> None:
    used = {name for path in FILES for name in _settings_read(path)}
    text = source(PACKAGE / "settings.py")
    assert {name for name in Settings.model_fields if name not in used and f"self.{name}" not in text} == set()


def test_names_of_test_files_are_unique() -> None:
    """pytest imports a test file by its name alone: of two alike it collects one."""
    names = sorted(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert sorted(set(names)) == names


def test_hypothesis_has_the_profile_of_conftest() -> None:
    """A list of what a test suppresses replaces that of the profile, which lets slow machines be slow."""
    tests = [path for path in TESTS.rglob("test_*.py") if path.name != "test_document.py"]  # schemathesis has its own
    files_with_settings = [
        path.name for path in tests if re.search(r"^ *@settings\(.*(deadline|suppress)", source(path), re.MULTILINE)
    ]
    assert files_with_settings == []


def test_every_test_file_is_collected_for_its_ring() -> None:
    missing = [path for path in TESTS.rglob("test_*.py") if not is_collected(path, {ring_of_file(path)})]
    assert missing == []


def _own_calls(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """Those that run on the event loop: functions inside the function are called elsewhere."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting += ast.iter_child_nodes(node)


def test_no_coroutine_calls_the_store() -> None:
    """By its name; `Database` itself refuses every call on an event loop."""
    for path in FILES:
        for function in nodes(path):
            if isinstance(function, ast.AsyncFunctionDef):
                for call in _own_calls(function):
                    owners = set(ast.unparse(call.func).split(".")[:-1])
                    assert not owners & _STORE_NAMES, f"{relative(path)}:{call.lineno}: {ast.unparse(call.func)}"
