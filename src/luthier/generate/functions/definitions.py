"""Reads function definitions in either of OpenAI's forms: tools, or legacy functions."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

from luthier.generate.errors import OptionsError
from luthier.language import Language, say

_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class FunctionDefinition:
    """A function definition; `parameters` is a JSON Schema of type object whose `$ref`s have been resolved."""

    name: str
    description: str
    parameters: dict[str, Any]

    @property
    def properties(self) -> dict[str, dict[str, Any]]:
        """The schema of each parameter; of alternatives (`anyOf`, `oneOf`), the first that is not null."""
        return {name: _first_alternative(schema) for name, schema in (self.parameters.get("properties") or {}).items()}

    @property
    def required(self) -> list[str]:
        return list(self.parameters.get("required") or [])

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "description": self.description, "parameters": self.parameters}

    def label(self, name: str, language: Language) -> str:
        """The parameter's name in a message: the first words of its Chinese description, or its name in words."""
        text = str(self.properties[name].get("description") or "")
        label = re.split(r"[，,。；;：:（(]", text)[0].strip()
        if language == "zh" and _CHINESE.search(label) and len(label) <= 14:
            return label
        return name.replace("_", " ")


def read_definitions(path: Path) -> list[FunctionDefinition]:
    """The definitions in a JSON file: a list of tools or functions, an object with such a list, or one definition.

    Raises:
        OptionsError: Names the file, the definition, and the problem.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionsError(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error
    entries = _entries(value)
    if not entries:
        raise OptionsError(
            say(
                f"{path} contains no function definitions: write a list of tools or functions.",
                f"{path} 里没有函数定义：请写成 tools 或 functions 的列表。",
            )
        )
    definitions = [_definition(path, number, entry) for number, entry in enumerate(entries, 1)]
    names = [definition.name for definition in definitions]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise OptionsError(say(f"{path} defines {duplicate} twice.", f"{path} 重复定义了 {duplicate}。"))
    return definitions


def detect_language(definitions: list[FunctionDefinition]) -> Language:
    """Chinese if any description contains a Chinese character, else English."""
    texts = (json.dumps(definition.to_dict(), ensure_ascii=False) for definition in definitions)
    return "zh" if any(map(_CHINESE.search, texts)) else "en"


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        entries = value.get("tools") or value.get("functions")
        return entries if isinstance(entries, list) else [value]
    return value if isinstance(value, list) else []


def _definition(path: Path, number: int, entry: Any) -> FunctionDefinition:
    """The definition in an entry of the file, numbered from 1. Raises OptionsError if it is invalid."""
    function = entry.get("function", entry) if isinstance(entry, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not _NAME.match(name):
        raise _invalid(
            path, number, say("it needs a name of letters, digits, _ and -", "名字只能由字母、数字、_ 和 - 组成")
        )
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    try:
        parameters = _inline_references(parameters, parameters)
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        raise _invalid(path, number, f"parameters: {error.message}") from error
    except (LookupError, RecursionError, TypeError) as error:
        raise _invalid(
            path, number, say(f"a $ref that cannot be resolved: {error}", f"$ref 无法解析：{error}")
        ) from error
    properties = parameters.get("properties", {})
    if parameters.get("type", "object") != "object" or not isinstance(properties, dict):
        raise _invalid(path, number, say("parameters must be an object", "parameters 必须是 object"))
    if unknown := set(parameters.get("required") or []) - set(properties):
        raise _invalid(
            path, number, say(f"required but not defined: {unknown}", f"required 里有未定义的参数：{unknown}")
        )
    return FunctionDefinition(name, str(function.get("description") or ""), parameters)


def _inline_references(value: Any, root: dict[str, Any]) -> Any:
    """`value` with each `$ref` replaced by its target in `root`, so that values can be generated for it."""
    if isinstance(value, list):
        return [_inline_references(inner, root) for inner in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        target: Any = root
        for key in value["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[key]
        return _inline_references({**target, **{key: inner for key, inner in value.items() if key != "$ref"}}, root)
    return {key: _inline_references(inner, root) for key, inner in value.items() if key not in ("$defs", "definitions")}


def _first_alternative(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}  # `true`: any value
    for key in ("anyOf", "oneOf"):
        alternatives = [inner for inner in schema.get(key, []) if isinstance(inner, dict)]
        if alternatives := [inner for inner in alternatives if inner.get("type") != "null"]:
            return {**{name: inner for name, inner in schema.items() if name != key}, **alternatives[0]}
    return schema


def _invalid(path: Path, number: int, problem: str) -> OptionsError:
    return OptionsError(say(f"{path}, definition {number}: {problem}.", f"{path} 第 {number} 个定义：{problem}。"))
