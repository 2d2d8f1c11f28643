"""`--functions FILE`: the definitions in a file, as a request sends them, and calls held against them for a person.

A file is a JSON list of tools or of functions, an object that holds one, or a training file, whose definitions are
collected.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from luthier.cli.errors import Trouble
from luthier.data.examples.adapter_metadata import survey
from luthier.data.examples.json_schema import schema_error
from luthier.data.examples.messages import definitions as in_todays_form
from luthier.data.examples.tool_definitions import Definitions
from luthier.language import say
from luthier.types.errors import LuthierError

_FAULTS = {
    "unknown_function": ("no such function is defined", "没有定义这个函数"),
    "not_an_object": ("the arguments are no JSON object", "参数不是 JSON 对象"),
    "missing_required": ("a required argument is missing", "缺少必填参数"),
    "unknown_argument": ("an argument is not defined", "有未定义的参数"),
    "wrong_type": ("an argument has the wrong type", "有参数类型不对"),
    "not_in_enum": ("an argument is not one of the values allowed", "有参数不在允许的取值之内"),
}


def read_functions(path: Path) -> dict[str, list[dict[str, Any]]]:
    """`{"tools": [...]}` or, from a file in the older form, `{"functions": [...]}`. Raises Trouble."""
    found = _listed(path)
    if found is None:
        found = _of_training_file(path)
    if not found:
        raise Trouble(
            say(f"{path} holds no function definitions.", f"{path} 里没有函数定义。"),
            say(
                "Write a JSON list of tools or of functions, or name a training file that has them.",
                "请写成 tools 或 functions 的 JSON 列表，或给出带有定义的训练文件。",
            ),
        )
    return found


def faults(definitions: dict[str, list[dict[str, Any]]], name: str, arguments: str) -> str:
    """What is wrong with a call, in words; nothing where it is as it should be, or where nothing is defined."""
    tools = in_todays_form(definitions.get("tools"), definitions.get("functions"))
    if not tools:
        return ""
    try:
        value = json.loads(arguments)
    except ValueError:
        value = None
    found: Counter[str] = Definitions(tools).faults(name, value if isinstance(value, dict) else None)
    other = ("the arguments break the schema", "参数不符合定义")
    return say("; ", "；").join(say(*_FAULTS.get(code, other)) for code in found)


def _listed(path: Path) -> dict[str, list[dict[str, Any]]] | None:
    """None for what is not one JSON document, or is an example."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Trouble(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        if "messages" in value:
            return None
        value = value.get("tools") or value.get("functions") or [value]
    if not isinstance(value, list):
        return {}
    for number, item in enumerate(value, 1):
        _check(path, number, item)
    if not value:
        return {}
    wrapped = ["function" in item for item in value]
    if all(wrapped):
        return {"tools": value}
    if any(wrapped):
        raise Trouble(
            say(f"{path} mixes tools and functions; write one form.", f"{path} 混用了 tools 和 functions，请统一写法。")
        )
    return {"functions": value}


def _check(path: Path, number: int, item: Any) -> None:
    plain = item.get("function", item) if isinstance(item, dict) else None
    wrong = None
    if not isinstance(plain, dict) or not isinstance(plain.get("name"), str):
        wrong = say("it has no name", "没有 name")
    elif isinstance(plain.get("parameters"), dict):
        wrong = schema_error(plain["parameters"])
    if wrong:
        raise Trouble(say(f"{path}, definition {number}: {wrong}.", f"{path} 第 {number} 个定义：{wrong}。"))


def _of_training_file(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        taught = survey(path)
    except (LuthierError, ValueError, KeyError, TypeError) as error:
        raise Trouble(
            say(f"{path} is neither JSON nor a training file: {error}", f"{path} 既不是 JSON，也不是训练文件：{error}"),
            say("`luthier check` says more.", "`luthier check` 有详细说明。"),
        ) from error
    if not taught.definitions:
        return {}
    if taught.call_form == "functions":
        return {"functions": [tool["function"] for tool in taught.definitions]}
    return {"tools": taught.definitions}
