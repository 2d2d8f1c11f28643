"""Our OpenAPI document against OpenAI's: what they accept and we do not, what they always answer and we may not.

Requests are compared by examples. From OpenAI's schema comes an instance for every field, every word of an enum, every
branch of a union and both ends of every range, one at a time; an instance that our schema refuses is a difference.
Answers are compared by their required fields. Knows nothing about why something differs.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]
Accepts = Callable[[Any], bool]


class Theirs:
    """OpenAI's schemas, and instances of them."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self._schemas = schemas

    def of(self, schema: Schema) -> Schema:
        """Without references, and with `allOf` as one object."""
        if "$ref" in schema:
            return self.of(self._schemas[schema["$ref"].split("/")[-1]])
        if "allOf" not in schema:
            return schema
        parts = [self.of(part) for part in schema["allOf"]]
        merged: Schema = {"type": "object", "properties": {}, "required": []}
        for part in [*parts, {key: value for key, value in schema.items() if key != "allOf"}]:
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
        return merged if merged["properties"] else parts[0]

    def branches(self, schema: Schema) -> list[Schema]:
        """Of a union; any other schema is its own only branch."""
        schema = self.of(schema)
        inside = schema.get("anyOf") or schema.get("oneOf")
        match = [entry for branch in inside for entry in self.branches(branch)] if inside else [schema]
        return match + ([{"type": "null"}] if schema.get("nullable") and {"type": "null"} not in match else [])

    def smallest(self, schema: Schema) -> Any:
        """An instance with nothing that can be left out."""
        schema = self.branches(schema)[0]
        kind = _kind(schema)
        if kind == "object":
            return {name: self.smallest(schema["properties"].get(name, {})) for name in schema.get("required", [])}
        if kind == "array":
            return [self.smallest(schema.get("items", {}))] * max(1, schema.get("minItems", 0))
        return _leaves(schema)[0]

    def refused(self, schema: Schema, where: str, accepts: Accepts) -> Iterator[str]:
        """Where an instance is not accepted. Inside what is refused as a whole nothing more is looked for."""
        branches = self.branches(schema)
        for branch in branches:
            yield from self._refused(branch, where + (_label(branch, self) if len(branches) > 1 else ""), accepts)

    def _refused(self, schema: Schema, where: str, accepts: Accepts) -> Iterator[str]:
        kind = _kind(schema)
        if kind == "array":
            count = max(1, schema.get("minItems", 0))
            yield from self.refused(schema.get("items", {}), f"{where}[]", lambda entry: accepts([entry] * count))
        elif kind == "object":
            small = self.smallest(schema)
            if not accepts(small):
                needed = self._needed(schema, small, accepts)
                if needed is None:
                    yield where
                    return
                yield f"{where}.{needed} (absent)"
                small[needed] = self.smallest(schema["properties"][needed])
            for name, of in schema.get("properties", {}).items():
                yield from self.refused(of, f"{where}.{name}", lambda entry, name=name: accepts({**small, name: entry}))
        else:
            values = _leaves(schema)
            refused = [value for value in values if not accepts(value)]
            if len(refused) == len(values):
                yield where
            else:
                yield from (f"{where} = {value!r}" for value in refused)

    def _needed(self, schema: Schema, small: dict[str, Any], accepts: Accepts) -> str | None:
        """The one field that OpenAI leaves open and without which nothing is accepted."""
        added = ((name, {**small, name: self.smallest(of)}) for name, of in schema.get("properties", {}).items())
        return next((name for name, larger in added if accepts(larger)), None)


def _kind(schema: Schema) -> str:
    return "object" if "properties" in schema else str(schema.get("type", "any"))


def _label(branch: Schema, theirs: Theirs) -> str:
    """Which branch of a union: by the one word that a field of it can have, else by its type."""
    for name, of in branch.get("properties", {}).items():
        words = theirs.of(of).get("enum", [])
        if len(words) == 1:
            return f" ({name}={words[0]})"
    return " (null)" if branch.get("type") == "null" else ""


def _leaves(schema: Schema) -> list[Any]:
    """Values of a type without parts: every word, both ends of a range."""
    if "enum" in schema or "const" in schema:
        return list(schema.get("enum", [schema.get("const")]))
    ends = [schema[end] for end in ("minimum", "maximum") if end in schema]
    if schema.get("exclusiveMinimum") is True:
        ends = [end for end in ends if end != schema["minimum"]]
    match _kind(schema):
        case "integer":
            return [*ends, sum(ends) // 2 or 1]
        case "number":
            return [*ends, sum(ends) / 2 or 0.5]
        case "boolean":
            return [True, False]
        case "null":
            return [None]
        case "object":
            return [{}]
        case "any":
            return [{"a": 1}]
        case _:
            return ["x" * max(1, schema.get("minLength", 1))]


def differences(theirs: Schema, ours: Schema) -> Iterator[tuple[str, str]]:
    """(method and path, where in the request or in the answer), for every operation that both have."""
    schemas = Theirs(theirs["schemas"])
    own = {_same(path): (path, of) for path, of in ours["paths"].items()}
    for path, operations in theirs["paths"].items():
        own_operations = own.get(_same(f"/v1{path}"), ("", {}))[1]
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            if method not in own_operations:
                yield name, "the whole operation"
                continue
            yield from ((name, where) for where in _of_operation(schemas, operation, own_operations[method], ours))


def _same(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def _of_operation(theirs: Theirs, operation: Schema, own: Schema, ours: Schema) -> Iterator[str]:
    mine = {parameter["name"]: parameter["schema"] for parameter in own.get("parameters", [])}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            accepts = _validator(mine.get(parameter["name"], False), ours)
            yield from theirs.refused(parameter["schema"], f"query: {parameter['name']}", accepts)
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        accepts = _validator(own["requestBody"]["content"][media]["schema"], ours)
        yield from (where.removeprefix(".") for where in theirs.refused(content["schema"], "", accepts))
    status = next((code for code in ("200", "201") if code in operation["responses"]), "200")
    for media, content in operation["responses"].get(status, {}).get("content", {}).items():
        answered = own["responses"][status]["content"].get(media)
        if answered is None:
            yield f"answer: as {media}"
        else:
            yield from (
                f"answer: {where[1:]}" for where in _missing(theirs, content["schema"], answered["schema"], ours, "")
            )


def _validator(schema: Any, document: Schema) -> Accepts:
    whole = schema if isinstance(schema, bool) else {**schema, "components": document["components"]}
    return Draft202012Validator(whole).is_valid


def _missing(theirs: Theirs, schema: Schema, own: Schema, document: Schema, where: str) -> Iterator[str]:
    """Fields that OpenAI's answer always has and ours need not have: of each branch of ours, beside that of theirs
    which it lacks the least of.
    """
    own_branches = _own_branches(own, document)
    if any(mine.get("maxItems") == 0 for mine in own_branches):
        return  # what is always empty lacks nothing
    every = theirs.branches(schema)
    branches = [branch for branch in every if _kind(branch) in ("object", "array")]
    if branches and not {_kind(mine) for mine in own_branches} & {_kind(branch) for branch in every}:
        yield where
    for mine in own_branches:
        tried = [
            list(_missing_here(theirs, branch, mine, document, where))
            for branch in branches
            if _kind(branch) == _kind(mine)
        ]
        yield from min(tried, key=len, default=[])


def _missing_here(theirs: Theirs, schema: Schema, own: Schema, document: Schema, where: str) -> Iterator[str]:
    if _kind(schema) == "array":
        yield from _missing(theirs, schema.get("items", {}), own.get("items", {}), document, f"{where}[]")
        return
    for name, of in schema.get("properties", {}).items():
        if name in own.get("properties", {}) and name in own.get("required", []):
            yield from _missing(theirs, of, own["properties"][name], document, f"{where}.{name}")
        elif name in schema.get("required", []):
            yield f"{where}.{name}"


def _own_branches(schema: Schema, document: Schema) -> list[Schema]:
    if "$ref" in schema:
        return _own_branches(document["components"]["schemas"][schema["$ref"].split("/")[-1]], document)
    inside = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    return [entry for branch in inside for entry in _own_branches(branch, document)] if inside else [schema]
