"""The settings `base` and `cache` alone, for commands that need no others: nothing is validated, and no library is
imported for it.
"""

import os
from pathlib import Path

import platformdirs

DEFAULT_CACHE = Path(platformdirs.user_cache_dir("luthier"))
DEFAULT_BASE = "smollm2-135m-instruct"


def config_path() -> Path:
    """The config file, whether or not it exists: `LUTHIER_CONFIG`, else `config.toml` in the user's config folder."""
    named = os.environ.get("LUTHIER_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("luthier")) / "config.toml"


def base_and_cache() -> tuple[str, Path] | None:
    """Both settings from the environment or their defaults; None if there is a config file, which must be validated as
    a whole.
    """
    if config_path().exists():
        return None
    variables = {name.lower(): value for name, value in os.environ.items()}
    cache = Path(variables.get("luthier_cache", DEFAULT_CACHE))
    return variables.get("luthier_base", DEFAULT_BASE), cache.expanduser().absolute()
