"""`--functions FILE`: reads function definitions and validates calls against them.

The file is a JSON list of tools or functions, an object with such a list, or a training file, from which the
definitions are collected.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from luthier.cli.errors import CliError
from luthier.data.examples.adapter_metadata import survey
from luthier.data.examples.json_schema import schema_error
from luthier.data.examples.messages import normalize_tools
from luthier.data.examples.tool_definitions import FunctionSchemas
from luthier.language import say
from luthier.types.errors import LuthierError

_ERRORS = {
    "unknown_function": ("the function is not defined", "没有定义这个函数"),
    "not_an_object": ("the arguments are not a JSON object", "参数不是 JSON 对象"),
    "missing_required": ("a required argument is missing", "缺少必填参数"),
    "unknown_argument": ("an argument is not defined", "有未定义的参数"),
    "wrong_type": ("an argument has the wrong type", "有参数类型不对"),
    "not_in_enum": ("an argument is not one of the allowed values", "有参数不在允许的取值之内"),
}


def read_functions(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The definitions as request fields: `{"tools": [...]}`, or `{"functions": [...]}` for the legacy form.

    Raises:
        CliError: The file cannot be read or contains no valid definitions.
    """
    definitions = _from_json(path)
    if definitions is None:
        definitions = _from_training_file(path)
    if not definitions:
        raise CliError(
            say(f"{path} contains no function definitions.", f"{path} 里没有函数定义。"),
            say(
                "Pass a JSON list of tools or functions, or a training file with definitions.",
                "请给出 tools 或 functions 的 JSON 列表，或带有定义的训练文件。",
            ),
        )
    return definitions


def call_errors(definitions: dict[str, list[dict[str, Any]]], name: str, arguments: str) -> str:
    """The errors of a call in words; empty for a valid call, or if there are no definitions."""
    tools = normalize_tools(definitions.get("tools"), definitions.get("functions"))
    if not tools:
        return ""
    try:
        value = json.loads(arguments)
    except ValueError:
        value = None
    codes: Counter[str] = FunctionSchemas(tools).faults(name, value if isinstance(value, dict) else None)
    other = ("the arguments do not match the schema", "参数不符合定义")
    return say("; ", "；").join(say(*_ERRORS.get(code, other)) for code in codes)


def _from_json(path: Path) -> dict[str, list[dict[str, Any]]] | None:
    """The definitions in a JSON document; None if the file is not a single document, or is a training example."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CliError(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        if "messages" in value:
            return None
        value = value.get("tools") or value.get("functions") or [value]
    if not isinstance(value, list):
        return {}
    for number, definition in enumerate(value, 1):
        _check(path, number, definition)
    if not value:
        return {}
    wrapped = ["function" in definition for definition in value]
    if all(wrapped):
        return {"tools": value}
    if any(wrapped):
        raise CliError(
            say(f"{path} mixes tools and functions; use one format.", f"{path} 混用了 tools 和 functions，请统一写法。")
        )
    return {"functions": value}


def _check(path: Path, number: int, definition: Any) -> None:
    function = definition.get("function", definition) if isinstance(definition, dict) else None
    error = None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        error = say("it has no name", "没有 name")
    elif isinstance(function.get("parameters"), dict):
        error = schema_error(function["parameters"])
    if error:
        raise CliError(say(f"{path}, definition {number}: {error}.", f"{path} 第 {number} 个定义：{error}。"))


def _from_training_file(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        metadata = survey(path)
    except (LuthierError, ValueError, KeyError, TypeError) as error:
        raise CliError(
            say(f"{path} is neither JSON nor a training file: {error}", f"{path} 既不是 JSON，也不是训练文件：{error}"),
            say("Run `luthier check` for details.", "详情请运行 `luthier check`。"),
        ) from error
    if not metadata.definitions:
        return {}
    if metadata.call_form == "functions":
        return {"functions": [tool["function"] for tool in metadata.definitions]}
    return {"tools": metadata.definitions}
