"""Settings under their former names, which still work, with a warning."""

import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

from luthier.language import say
from luthier.types.errors import RenamedSettingWarning

RENAMED = {"adapters_in_memory": "lora_slots", "answer_tokens": "default_max_tokens"}  # old name → current name

_Value = TypeVar("_Value")


def with_current_names(values: Mapping[str, _Value], prefix: str) -> dict[str, _Value]:
    """`values` with old names replaced; a value under the current name takes precedence."""
    current: dict[str, Any] = dict(values)
    for old, new in RENAMED.items():
        if prefix + old in current:
            value = current.pop(prefix + old)
            current.setdefault(prefix + new, value)
            _warn_renamed(old, new)
    return current


def _warn_renamed(old: str, new: str) -> None:
    text = say(f"The setting {old} was renamed to {new}", f"设置项 {old} 已改名为 {new}")
    flag, variable = "--" + new.replace("_", "-"), f"LUTHIER_{new.upper()}"
    warnings.warn(f"{text} ({flag}, {variable}).", RenamedSettingWarning, stacklevel=2)
