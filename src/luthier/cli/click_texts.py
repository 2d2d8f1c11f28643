"""Click's own texts in Chinese, and help that is wrapped by terminal cells instead of characters.

Click looks up its texts with gettext, under the name `_` in its modules; `install` wraps these functions so that they
look in `_TEXTS` first. Chinese characters take two cells, and lines may break between any two of them except before
punctuation.
"""

import importlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import click
from click import _textwrap

from luthier.language import current, say

_MODULES = ("core", "decorators", "exceptions", "formatting", "parser", "termui", "types")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CLOSING = "，。、；：！？）》」』”’…％%)]}"
_OPENING = "（《「『“‘(["


class _Sentence(str):
    """A text whose formatted form uses Chinese punctuation, since click appends a full stop and spaces itself."""

    __slots__ = ()

    def format(self, *args: object, **fields: object) -> str:
        return re.sub(r"(?<=[。！？]) ", "", re.sub(r"\.$", "。", super().format(*args, **fields)))


_TEXTS = {
    "Usage:": "用法:",
    "Options": "选项",
    "Commands": "命令",
    "Positional arguments": "参数",
    "Show this message and exit.": "显示本帮助并退出。",
    "Show the version and exit.": "显示版本并退出。",
    "Try '{command} {option}' for help.": "帮助：{command} {option}",
    "Error: {message}": _Sentence("错误：{message}"),
    "Aborted!": "已中止。",
    "default: {default}": "默认：{default}",
    "env var: {var}": "环境变量：{var}",
    "required": "必填",
    "deprecated": "已弃用",
    "(dynamic)": "（动态）",
    "path": "路径",
    "file": "文件",
    "File": "文件",
    "directory": "文件夹",
    "Directory": "文件夹",
    "Path": "路径",
    "No such command {name!r}.": "没有命令 {name!r}。",
    "No such option {name!r}.": "没有选项 {name!r}。",
    "Did you mean {possibility}?": "是否指 {possibility}？",
    "(Did you mean one of: {possibilities}?)": "（是否指其中之一：{possibilities}？）",
    "Missing command.": "缺少命令。",
    "Missing argument": "缺少参数",
    "Missing option": "缺少选项",
    "Missing parameter": "缺少参数",
    "Missing {param_type}": "缺少{param_type}",
    "Missing parameter: {param_name}": "缺少参数：{param_name}",
    "Choose from:\n\t{choices}": "可选：\n\t{choices}",
    "Invalid value: {message}": "取值无效：{message}",
    "Invalid value for {param_hint}: {message}": "{param_hint} 的取值无效：{message}",
    "Option {name!r} does not take a value.": "选项 {name!r} 不带值。",
    "Option {name!r} requires an argument.": "选项 {name!r} 需要一个值。",
    "Option {name!r} requires {nargs} arguments.": "选项 {name!r} 需要 {nargs} 个值。",
    "Got unexpected extra argument ({args})": "多余的参数（{args}）",
    "Got unexpected extra arguments ({args})": "多余的参数（{args}）",
    "Argument {name!r} takes {nargs} values.": "参数 {name!r} 需要 {nargs} 个值。",
    "{value!r} is not {choice}.": "{value!r} 应为 {choice}。",
    "{value!r} is not one of {choices}.": "{value!r} 不在可选值之内：{choices}。",
    "{value!r} is not a valid {number_type}.": "{value!r} 不是有效的{number_type}。",
    "{value} is not in the range {range}.": "{value} 不在范围 {range} 内。",
    "{name} {filename!r} does not exist.": "{name} {filename!r} 不存在。",
    "{name} {filename!r} is a file.": "{filename!r} 是文件，应为{name}。",
    "{name} {filename!r} is a directory.": "{filename!r} 是文件夹，应为{name}。",
    "{name} {filename!r} is not readable.": "{name} {filename!r} 不可读。",
    "{name} {filename!r} is not writable.": "{name} {filename!r} 不可写。",
    "Do you want to continue?": "是否继续？",
    "Error: invalid input": "错误：输入无效",
}


_USAGE = {"OPTIONS": "选项", "COMMAND": "命令", "ARGS": "参数"}  # what click itself writes in lines of usage
_TYPE_NAMES: dict[type[click.ParamType[Any]], str] = {  # in errors and, in capitals, in the help of options
    click.types.IntParamType: "整数",
    click.IntRange: "整数",
    click.types.FloatParamType: "数字",
    click.FloatRange: "数字",
    click.types.StringParamType: "文本",
}


def cell_width(text: str) -> int:
    """The number of terminal cells that `text` takes, without its ANSI styles."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in _ANSI.sub("", text))


class CellTextWrapper(_textwrap.TextWrapper):
    """Breaks lines between words and between Chinese characters."""

    def _split(self, text: str) -> list[str]:
        chunks: list[str] = []
        for word in super()._split(text):
            for piece in _pieces(word):
                glued = chunks and not chunks[-1].isspace() and (piece[0] in _CLOSING or chunks[-1][-1] in _OPENING)
                if glued:
                    chunks[-1] += piece
                else:
                    chunks.append(piece)
        return chunks


def _pieces(word: str) -> list[str]:
    """The parts of `word`: each wide character is a part of its own."""
    pieces: list[str] = []
    for character in word:
        wide = unicodedata.east_asian_width(character) in "WF"
        if not wide and pieces and unicodedata.east_asian_width(pieces[-1][-1]) not in "WF":
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def install() -> None:
    """Installs the Chinese texts and the wrapping. Idempotent, and without effect on English texts."""
    for name in _MODULES:
        module = importlib.import_module(f"click.{name}")
        for attribute, wrap in (("_", _translated), ("ngettext", _translated_plural)):
            original = getattr(module, attribute, None)
            if original is not None and not hasattr(original, "luthier"):
                setattr(module, attribute, wrap(original))
        if hasattr(module, "term_len"):
            setattr(module, "term_len", cell_width)  # noqa: B010 - the attribute is private to mypy
    for kind, chinese in _TYPE_NAMES.items():
        if isinstance(kind.name, str):  # not yet installed
            setattr(kind, "name", _type_name(kind.name, chinese))  # noqa: B010
    if not hasattr(click.HelpFormatter.write_usage, "luthier"):
        setattr(click.HelpFormatter, "write_usage", _with_usage(click.HelpFormatter.write_usage))  # noqa: B010
    setattr(_textwrap, "term_len", cell_width)  # noqa: B010
    setattr(_textwrap, "TextWrapper", CellTextWrapper)  # noqa: B010


def _translated(original: Callable[[str], str]) -> Callable[[str], str]:
    def translate(message: str) -> str:
        return _TEXTS.get(message) or original(message) if current() == "zh" else original(message)

    _mark(translate)
    return translate


def _translated_plural(original: Callable[[str, str, int], str]) -> Callable[[str, str, int], str]:
    def translate(singular: str, plural: str, count: int) -> str:
        message = original(singular, plural, count)
        return _TEXTS.get(message, message) if current() == "zh" else message

    _mark(translate)
    return translate


def usage(arguments: str) -> str:
    """A line of usage in the language of this process; the names of a command's own arguments stay."""
    words = re.compile("|".join(rf"\b{word}\b" for word in _USAGE))
    return words.sub(lambda match: _USAGE[match[0]], arguments) if current() == "zh" else arguments


def _with_usage(original: Callable[..., None]) -> Callable[..., None]:
    def write_usage(formatter: click.HelpFormatter, prog: str, args: str = "", prefix: str | None = None) -> None:
        original(formatter, prog, usage(args), prefix)

    _mark(write_usage)
    return write_usage


def _type_name(english: str, chinese: str) -> property:
    return property(lambda _: say(english, chinese))


def _mark(function: Any) -> None:
    """Marks a lookup function as wrapped, so that `install` does not wrap it twice."""
    function.luthier = True
