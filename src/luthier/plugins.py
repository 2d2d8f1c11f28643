"""Plugins: engines, graders and checks, found by entry-point group and imported on first use.

Another distribution adds one by declaring an entry point:

    [project.entry-points."luthier.graders"]
    regex = "my_package.grader:RegexGrader"

The built-in ones are declared in the same format in `plugins.ini`, which pyproject.toml publishes as Luthier's own
entry points. They are read from that file and never from the installed metadata, so they are those of the code that
runs, even from a source tree that was installed at an earlier version.
"""

from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Any, Literal

from luthier.types.errors import LuthierError

Group = Literal["luthier.engines", "luthier.graders", "luthier.checks"]
GROUPS: tuple[Group, ...] = ("luthier.engines", "luthier.graders", "luthier.checks")
_OWN_DISTRIBUTION = "luthier"


class PluginError(LuthierError):
    """A plugin cannot be imported, or its name is taken; the message names the distribution that provides it."""


class PluginTable(Mapping[str, Any]):
    """The plugins of one group: name -> factory. Listing imports nothing; indexing imports that one plugin."""

    def __init__(self, group: str, entries: Mapping[str, EntryPoint]) -> None:
        self._group, self._entries = group, entries
        self._factories: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Raises KeyError for an unknown name, PluginError when the plugin fails to import."""
        if name not in self._factories:
            self._factories[name] = self._import(self._entries[name])
        return self._factories[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # the inherited method would import the plugin

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def distribution(self, name: str) -> str:
        """The distribution that provides a plugin: its name and version."""
        return _distribution(self._entries[name])

    def is_built_in(self, name: str) -> bool:
        return self._entries[name].dist is None

    def _import(self, entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except Exception as error:
            raise PluginError(
                f"The plugin '{entry.name}' ({self._group}) of {_distribution(entry)} cannot be imported from "
                f"'{entry.value}': {type(error).__name__}: {error}. {_remedy(entry)}"
            ) from error


@cache
def load(group: Group) -> PluginTable:
    """The plugins of a group: the built-in ones first, in the order of `plugins.ini`, then those of other
    distributions by name. Raises PluginError when two of them share a name.
    """
    entries = dict(_built_in(group))
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        if _is_own(entry):
            continue  # the metadata of the installation, which may be older than the code
        other = entries.setdefault(entry.name, entry)
        if other is not entry:
            raise PluginError(
                f"{_distribution(entry)} and {_distribution(other)} both provide a plugin named '{entry.name}' in "
                f"{group}. Uninstall one of them, or have it renamed."
            )
    return PluginTable(group, entries)


def _built_in(group: Group) -> dict[str, EntryPoint]:
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # names are case-sensitive
    parser.read_string(files("luthier").joinpath("plugins.ini").read_text(encoding="utf-8"))
    return {name: EntryPoint(name, value, group) for name, value in parser.items(group)}


def _is_own(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name.lower() == _OWN_DISTRIBUTION


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "Luthier itself"


def _remedy(entry: EntryPoint) -> str:
    if entry.dist is None:
        return "Reinstall Luthier: its files do not belong together."
    return f"Update it (pip install -U {entry.dist.name}) or uninstall it."
