"""The settings and base models of this machine, for commands that work without a server.

Settings are read from the environment. Functions import what they need themselves, so that `luthier --help` stays fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli.errors import CliError
from luthier.language import say

if TYPE_CHECKING:
    from luthier.catalogue import Catalogue
    from luthier.cli.options import Options
    from luthier.settings import Settings
    from luthier.store import Store


def settings_of(options: Options) -> Settings:
    """The settings of the environment, with the data folder of --data."""
    from luthier.settings import Settings

    settings = Settings()
    if options.data:
        settings.data = options.data.expanduser().absolute()
    return settings


def has_data_folder(settings: Settings) -> bool:
    return settings.data.is_dir()


def open_store(settings: Settings) -> Store:
    """Opens the store that the settings name, even while a server uses it; the caller closes it."""
    from luthier.store import Store

    return Store.open(settings)


@contextmanager
def local_store(settings: Settings) -> Iterator[Store]:
    """The store in the data folder of this machine. Raises CliError if there is no such folder."""
    if not has_data_folder(settings):
        raise CliError(
            say(f"There is no data folder {settings.data}.", f"没有数据文件夹 {settings.data}。"),
            say("Set it with --data.", "请用 --data 指定。"),
        )
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def data_folder(settings: Settings) -> Path:
    """The folder with the state of this machine's server, which may not exist yet."""
    return settings.data


def trackers_folder(settings: Settings) -> Path:
    """The folder with the runs that experiment trackers store on this machine."""
    return settings.data / "trackers"


def local_catalogue(fine_tuned: Path | None = None) -> Catalogue:
    """The base models on this machine; `fine_tuned` is the folder of fully fine-tuned models."""
    from luthier.catalogue import Catalogue

    return Catalogue(_base_and_cache()[1], fine_tuned)


def default_base() -> str:
    """The base model that OpenAI's model names stand for."""
    return _base_and_cache()[0]


def base_folder(base: str | None) -> tuple[str, Path | None]:
    """The name and the folder of a base model (None: the default one); the folder is None if it is not downloaded.

    Raises:
        CliError: There is no base model of that name.
    """
    name = base or default_base()
    name = str(Path(name).absolute()) if Path(name).is_dir() else name
    catalogue = local_catalogue()
    if name not in catalogue:
        raise CliError(
            say(f"There is no base model '{name}'. See: luthier models list",
                f"没有基座模型“{name}”。请看：luthier models list"))  # fmt: skip
    return name, catalogue.folder(name) if catalogue.ready(name) else None


def _base_and_cache() -> tuple[str, Path]:
    from luthier.types.plain_settings import base_and_cache

    if (plain := base_and_cache()) is not None:
        return plain
    from luthier.settings import Settings

    settings = Settings()
    return settings.base, settings.cache
