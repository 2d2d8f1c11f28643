"""Removes from a JSON schema the keywords whose values have the wrong shape.

Code that reads the schema afterwards can rely on the shapes: `required` is a list of names, `properties` has schemas by
name.
"""

from collections.abc import Callable
from typing import Any

from luthier.data.rendering.number_bounds import MAPPING_KEYWORDS, SCHEMA_KEYWORDS

SchemaPath = tuple[str, ...]
_SCHEMA = (dict, bool)


def _is_type(value: Any) -> bool:
    return isinstance(value, str) or _is_names(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, _SCHEMA) for entry in value.values())


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, _SCHEMA) for entry in value)


_SHAPES: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": lambda value: isinstance(value, list),
    **dict.fromkeys(("$ref", "pattern", "format"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_number),
    **dict.fromkeys(MAPPING_KEYWORDS, _is_mapping),
    **dict.fromkeys(SCHEMA_KEYWORDS, lambda value: isinstance(value, _SCHEMA)),
    **dict.fromkeys(("prefixItems", "anyOf", "oneOf", "allOf"), _is_schemas),
    "items": lambda value: isinstance(value, _SCHEMA) or _is_schemas(value),  # a list up to draft 2019-09
}


def well_shaped(schema: dict[str, Any]) -> tuple[dict[str, Any], list[SchemaPath]]:
    """A copy of the schema without the keywords of the wrong shape, and the paths of these keywords."""
    removed: list[SchemaPath] = []
    return _copy(schema, (), removed), removed


def _copy(schema: Any, path: SchemaPath, removed: list[SchemaPath]) -> Any:
    if isinstance(schema, list):
        return [_copy(entry, (*path, str(index)), removed) for index, entry in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    copy = {}
    for key, value in schema.items():
        here = (*path, key)
        if key in _SHAPES and not _SHAPES[key](value):
            removed.append(here)
        elif key in MAPPING_KEYWORDS:
            copy[key] = {name: _copy(entry, (*here, name), removed) for name, entry in value.items()}
        else:
            copy[key] = _copy(value, here, removed) if key in SCHEMA_KEYWORDS else value
    return copy
