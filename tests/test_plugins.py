"""Plugins: built-in ones and those of other distributions come through the same table."""

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fake_distribution
import luthier
from luthier import plugins
from luthier.settings import Settings

Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _fresh_table() -> Iterator[None]:
    plugins.load.cache_clear()
    yield
    plugins.load.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:

    def install(name: str, group: str, entries: dict[str, str], **modules: str) -> None:
        fake_distribution.install(monkeypatch, tmp_path / name, name, group, entries, **modules)

    return install


def test_a_plugin_of_another_distribution_is_listed_and_imported_on_first_use(install: Install) -> None:
    install("acme", "luthier.checks", {"acme": "acme_check:Check"}, acme_check="class Check: pass")
    table = plugins.load("luthier.checks")
    assert "acme" in table
    assert not table.is_built_in("acme")
    assert table.distribution("acme") == "acme 1.5"
    assert "acme_check" not in sys.modules
    assert table["acme"].__name__ == "Check"
    assert table["acme"] is table["acme"]


@pytest.mark.parametrize("source", ["import a_module_that_is_not_there", "1 / 0", "class Other: pass", "def ("])
def test_a_plugin_that_fails_to_import_is_named_with_its_distribution(install: Install, source: str) -> None:
    install("acme", "luthier.checks", {"acme": "acme_check:Check"}, acme_check=source)
    with pytest.raises(plugins.PluginError, match=r"'acme' \(luthier.checks\) of acme 1.5 cannot be imported"):
        plugins.load("luthier.checks")["acme"]


def test_two_plugins_of_one_name_are_refused_with_both_distributions(install: Install) -> None:
    install("acme", "luthier.engines", {"fast": "acme_engine:Engine"})
    install("beta", "luthier.engines", {"fast": "beta_engine:Engine"})
    with pytest.raises(plugins.PluginError, match=r"acme 1.5.*'fast'") as caught:
        plugins.load("luthier.engines")
    assert "beta 1.5" in str(caught.value)


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_the_name_of_a_built_in_plugin_is_taken(install: Install, group: plugins.Group) -> None:
    for name in list(plugins.load(group))[:1]:
        install("acme", group, {name: "acme:Thing"})
        plugins.load.cache_clear()
        with pytest.raises(plugins.PluginError, match=f"acme 1.5 and Luthier itself both provide a plugin.*'{name}'"):
            plugins.load(group)


def test_stale_metadata_of_an_earlier_installation_is_ignored(install: Install) -> None:
    """An editable installation keeps the entry points of the version that was installed."""
    built_in = list(plugins.load("luthier.engines"))
    install("luthier", "luthier.engines", {"removed": "luthier.inference.engines.removed:Engine"})
    plugins.load.cache_clear()
    assert list(plugins.load("luthier.engines")) == built_in


@pytest.mark.torch
@pytest.mark.parametrize("group", plugins.GROUPS)
def test_every_built_in_plugin_can_be_imported(group: plugins.Group) -> None:
    table = plugins.load(group)
    assert all(callable(table[name]) for name in table if table.is_built_in(name))


@pytest.mark.services
def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from luthier import plugins; [list(plugins.load(group)) for group in plugins.GROUPS]; "
        "rooms = ('luthier.inference', 'luthier.evaluation', 'luthier.data', 'torch'); "
        "sys.exit(any(name.startswith(rooms) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_publishes_its_built_in_plugins() -> None:
    """pyproject.toml takes the entry points from the file that the code reads, and the wheel contains that file."""
    root = Path(luthier.__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert "entry-points" in project["project"]["dynamic"]
    tools = project["tool"]["setuptools"]
    path = tools["dynamic"]["entry-points"]["file"]
    assert (root / path).samefile(Path(luthier.__file__).with_name("plugins.ini"))
    assert "plugins.ini" in tools["package-data"]["luthier"]


def test_an_engine_of_another_distribution_is_named_by_the_setting(install: Install) -> None:
    from luthier.inference.options import EngineOptions
    from luthier.inference.pool import EnginePool
    from luthier.types.errors import BaseModelError

    install("acme", "luthier.engines", {"fast": "acme_engine:build"})
    EnginePool(EngineOptions(engine=Settings(engine="fast").engine))
    with pytest.raises(BaseModelError, match=r"no engine slow.*echo, fast\."):
        EnginePool(EngineOptions(engine="slow"))
