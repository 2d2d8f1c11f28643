"""The public Python API: a fixed list of names, imported on first use."""

import re
import subprocess
import sys

import pytest

import luthier

PUBLIC = [
    "APIError",
    "BaseModelError",
    "Catalogue",
    "JobError",
    "LuthierError",
    "LuthierServer",
    "RenderError",
    "Renderer",
    "Settings",
    "__version__",
    "check_file",
    "create_app",
    "evaluate",
]


def test_the_public_names_are_exactly_these() -> None:
    assert luthier.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(luthier))


@pytest.mark.services
def test_importing_luthier_imports_no_heavy_library() -> None:
    code = "import sys, luthier; print(*{'torch', 'fastapi', 'sqlalchemy', 'pydantic', 'openai'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves_and_has_documentation(name: str) -> None:
    value = getattr(luthier, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = luthier.no_such_name


def test_the_version_is_a_release_or_a_development_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", luthier.__version__)
