"""A file of function definitions, in either of OpenAI's forms → definitions that can be enumerated.

Knows JSON Schema as far as a definition uses it, and nothing about calls.
"""

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
class Definition:
    """A function as the API defines it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]

    @property
    def properties(self) -> dict[str, dict[str, Any]]:
        """Of alternatives, as in a type that may be null, the first that is not null."""
        return {name: _first(schema) for name, schema in (self.parameters.get("properties") or {}).items()}

    @property
    def required(self) -> list[str]:
        return list(self.parameters.get("required") or [])

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "description": self.description, "parameters": self.parameters}

    def label(self, name: str, language: Language) -> str:
        """What a person calls a parameter: the first words of its Chinese description, or its name in words."""
        text = str(self.properties[name].get("description") or "")
        first = re.split(r"[，,。；;：:（(]", text)[0].strip()
        if language == "zh" and _CHINESE.search(first) and len(first) <= 14:
            return first
        return name.replace("_", " ")


def read_definitions(path: Path) -> list[Definition]:
    """From a list of tools or functions, an object that holds one, or a single definition.

    Raises OptionsError that names the file, the definition and what is wrong with it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionsError(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error
    items = _items(value)
    if not items:
        raise OptionsError(
            say(
                f"{path} holds no function definitions: write a list of tools or of functions.",
                f"{path} 里没有函数定义：请写成 tools 或 functions 的列表。",
            )
        )
    found = [_definition(path, number, item) for number, item in enumerate(items, 1)]
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionsError(say(f"{path} defines {twice} twice.", f"{path} 重复定义了 {twice}。"))
    return found


def language_of(definitions: list[Definition]) -> Language:
    """Chinese when any description has a Chinese character."""
    return "zh" if any(_CHINESE.search(json.dumps(one.to_dict(), ensure_ascii=False)) for one in definitions) else "en"


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        held = value.get("tools") or value.get("functions")
        return held if isinstance(held, list) else [value]
    return value if isinstance(value, list) else []


def _definition(path: Path, number: int, item: Any) -> Definition:
    plain = item.get("function", item) if isinstance(item, dict) else None
    name = plain.get("name") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or not isinstance(name, str) or not _NAME.match(name):
        raise _wrong(
            path, number, say("it needs a name of letters, digits, _ and -", "名字只能由字母、数字、_ 和 - 组成")
        )
    parameters = plain.get("parameters") or {"type": "object", "properties": {}}
    try:
        parameters = _inlined(parameters, parameters)
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        raise _wrong(path, number, f"parameters: {error.message}") from error
    except (LookupError, RecursionError, TypeError) as error:
        raise _wrong(path, number, say(f"a $ref that leads nowhere: {error}", f"$ref 无法解析：{error}")) from error
    properties = parameters.get("properties", {})
    if parameters.get("type", "object") != "object" or not isinstance(properties, dict):
        raise _wrong(path, number, say("parameters must be an object", "parameters 必须是 object"))
    if unknown := set(parameters.get("required") or []) - set(properties):
        raise _wrong(path, number, say(f"required but not defined: {unknown}", f"required 里有未定义的参数：{unknown}"))
    return Definition(name, str(plain.get("description") or ""), parameters)


def _inlined(value: Any, root: dict[str, Any]) -> Any:
    """Without `$ref`: each is replaced by what it points to within the schema, so that values can be made for it."""
    if isinstance(value, list):
        return [_inlined(one, root) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        target: Any = root
        for key in value["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[key]
        return _inlined({**target, **{key: one for key, one in value.items() if key != "$ref"}}, root)
    return {key: _inlined(one, root) for key, one in value.items() if key not in ("$defs", "definitions")}


def _first(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}  # `true`: anything goes
    for key in ("anyOf", "oneOf"):
        if alternatives := [one for one in schema.get(key, []) if isinstance(one, dict) and one.get("type") != "null"]:
            return {**{name: one for name, one in schema.items() if name != key}, **alternatives[0]}
    return schema


def _wrong(path: Path, number: int, what: str) -> OptionsError:
    return OptionsError(say(f"{path}, definition {number}: {what}.", f"{path} 第 {number} 个定义：{what}。"))
