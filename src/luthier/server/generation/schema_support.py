"""Support of the grammar compiler for a JSON schema: the first unsupported keyword, and the schema without such
keywords."""

import json
from collections.abc import Iterator
from typing import Any

from luthier.data.rendering.argument_grammar import schema_json
from luthier.data.rendering.number_bounds import MAPPING_KEYWORDS, SCHEMA_KEYWORDS
from luthier.inference.scheduling.structured_output import validate_grammar
from luthier.types.errors import BadRequestError
from luthier.types.sized_cache import sized_cache

Path = tuple[str, ...]
_CORE_KEYWORDS = ("type", "properties", "required", "items", "enum", "const", "anyOf", "$ref", "$defs")
_MAX_REMOVED = 64  # a schema with more unsupported keywords is treated as unsupported altogether


@sized_cache
def _is_supported(schema: str) -> bool:
    try:
        validate_grammar(f"%llguidance {{}}\nstart: %json {schema}\n", "")
    except BadRequestError:
        return False
    return True


def is_supported(schema: Any) -> bool:
    """Whether an answer can be constrained to the schema."""
    return _is_supported(schema_json(schema))


def first_unsupported(schema: Any) -> tuple[Path, str | None] | None:
    """(path, keyword) of a part that cannot be enforced; the keyword is None if the whole part cannot be.

    None for a supported schema, and for one that is unsupported without a single responsible part.
    """
    if is_supported(schema):
        return None
    definitions = {key: schema[key] for key in ("$defs", "definitions") if isinstance(schema, dict) and key in schema}
    for path, part in _parts(schema, ()):
        if not is_supported({**definitions, **part}):
            return path, _unsupported_keyword(part, definitions)
    return None


def _unsupported_keyword(part: dict[str, Any], definitions: dict[str, Any]) -> str | None:
    for key in sorted(part, key=lambda key: key in _CORE_KEYWORDS):
        rest = {other: value for other, value in part.items() if other != key}
        if is_supported({**definitions, **rest} if key not in definitions else rest):
            return key
    return None


def relaxed(schema: Any) -> Any:
    """The schema without the parts that cannot be enforced; None if none of it can be."""
    return json.loads(_relaxed(json.dumps(schema)))


@sized_cache
def _relaxed(text: str) -> str:
    schema = json.loads(text)
    for _ in range(_MAX_REMOVED):
        unsupported = first_unsupported(schema)
        if unsupported is None:
            break
        schema = _without(schema, *unsupported)
    return json.dumps(schema if is_supported(schema) else None)


def _without(schema: Any, path: Path, keyword: str | None) -> Any:
    """A copy without a keyword of the part at `path`, or with that part accepting any value."""
    if not path:
        return {key: value for key, value in schema.items() if key != keyword} if keyword else {}
    if isinstance(schema, list):
        index = int(path[0])
        return [*schema[:index], _without(schema[index], path[1:], keyword), *schema[index + 1 :]]
    return schema | {path[0]: _without(schema[path[0]], path[1:], keyword)}


def _parts(schema: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every schema inside with its path, the innermost first."""
    if isinstance(schema, list):
        for index, entry in enumerate(schema):
            yield from _parts(entry, (*path, str(index)))
    if not isinstance(schema, dict):
        return
    for key in MAPPING_KEYWORDS:
        if isinstance(schema.get(key), dict):
            for name, value in schema[key].items():
                yield from _parts(value, (*path, key, name))
    for key in SCHEMA_KEYWORDS:
        yield from _parts(schema.get(key), (*path, key))
    yield path, schema
