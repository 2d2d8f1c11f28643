"""Phrasings without a teacher: frames around a function's description and its parameters, in Chinese and English.

A person's own phrasings ("我是{dept}的{name}，想请{days}天假") come first where there are any; `{days:zh}` writes
a number in Chinese numerals. Frames read stiffly; that is what a set without a teacher is worth. Knows words and no
schemas.
"""

import json
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.generate.errors import OptionsError
from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.enumerate import Invocation
from luthier.generate.functions.grounding import chinese_number
from luthier.language import Language, say

_FRAMES: dict[Language, tuple[str, ...]] = {
    "zh": (
        "请{wish}，{values}。",
        "帮我{wish}：{values}。",
        "{values}，请{wish}。",
        "麻烦{wish}，{values}，谢谢。",
        "我需要{wish}，{values}。",
        "能不能{wish}？{values}。",
        "想{wish}，{values}",
        "{wish}，{values}，尽快。",
    ),
    "en": (
        "Please {wish}: {values}.",
        "Can you {wish}? {Values}.",
        "I need you to {wish}, {values}.",
        "{Values}. Please {wish}.",
        "{Wish}, {values}.",
        "Could you {wish} with {values}?",
        "Hi, {wish} please, {values}.",
        "{Wish}. {Values}, thanks.",
    ),
}
_BARE: dict[Language, tuple[str, ...]] = {
    "zh": ("请{wish}。", "帮我{wish}。", "麻烦{wish}，谢谢。", "能{wish}吗？", "我想{wish}。"),
    "en": ("Please {wish}.", "Can you {wish}?", "I need you to {wish}.", "{Wish}, please."),
}
_PAIRS: dict[Language, tuple[str, ...]] = {
    "zh": ("{label}是{value}", "{label}：{value}", "{label}为{value}", "{label}{value}"),
    "en": ("the {label} is {value}", "{label} {value}", "{label}: {value}"),
}
_BOTH: dict[Language, tuple[str, ...]] = {
    "zh": ("{one}另外，{two}", "{one}还有，{two}", "两件事：{one}{two}"),
    "en": ("{one} Also: {two}", "{one} And another thing: {two}", "Two things. {one} {two}"),
}
_ASKS: dict[Language, tuple[str, ...]] = {
    "zh": ("请告诉我{labels}。", "还需要{labels}，请补充一下。", "请问{labels}是什么？"),
    "en": ("What is the {labels}?", "I also need the {labels}.", "Please tell me the {labels}."),
}


class _Words(string.Formatter):
    """`{days:zh}` in Chinese numerals; everything else as text."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec != "zh" or not isinstance(value, int):
            return str(value)
        return "两" if value == 2 else chinese_number(value)  # a measure word follows


_FORMATTER = _Words()


def fields(template: str) -> set[str]:
    """The parameters that a template names. Raises ValueError for one that cannot be read."""
    return {name for _, name, _, _ in _FORMATTER.parse(template) if name is not None}


def check_phrasing(template: str, definition: Definition) -> None:
    """Raises OptionsError for braces that do not match, or that name no parameter."""
    try:
        unknown = fields(template) - set(definition.properties)
    except ValueError:
        unknown = {"{}"}
    if unknown:
        raise OptionsError(
            say(
                f"The phrasing “{template}” of {definition.name} names {', '.join(sorted(unknown))}, which is none of "
                f"its parameters: {', '.join(definition.properties)}.",
                f"{definition.name} 的说法“{template}”里的 {'、'.join(sorted(unknown))} 不是它的参数，"
                f"参数有：{'、'.join(definition.properties)}。",
            )
        )


def own_phrasing(template: str, arguments: Mapping[str, Any], language: Language) -> str:
    values = {name: value if isinstance(value, int) else shown(value, language) for name, value in arguments.items()}
    return _FORMATTER.vformat(template, (), values)


def frame(invocation: Invocation, names: Sequence[str], language: Language, dice: random.Random) -> str:
    """A phrasing that says the values of `names`, in a shuffled order."""
    wish = wish_of(invocation.definition, language)
    if not names:
        return dice.choice(_BARE[language]).format(wish=wish, Wish=_capital(wish))
    pair = dice.choice(_PAIRS[language])
    order = dice.sample(list(names), len(names))
    label = invocation.definition.label
    said = [pair.format(label=label(n, language), value=shown(invocation.arguments[n], language)) for n in order]
    values = ("，" if language == "zh" else ", ").join(said)
    template = dice.choice(_FRAMES[language])
    return template.format(wish=wish, Wish=_capital(wish), values=values, Values=_capital(values))


def both(one: str, two: str, language: Language, dice: random.Random) -> str:
    """Two wishes in one message."""
    return dice.choice(_BOTH[language]).format(one=_closed(one, language), two=two)


def ask_back(definition: Definition, names: Sequence[str], language: Language, dice: random.Random) -> str:
    """The answer to a wish that leaves out what is required."""
    labels = [definition.label(name, language) for name in names]
    joined = listed(labels, language)
    templates = _ASKS[language] if len(labels) == 1 or language == "en" else _ASKS[language][:2]
    text = dice.choice(templates).format(labels=joined)
    return text.replace("What is the", "What are the") if len(labels) > 1 else text


def shown(value: Any, language: Language) -> str:
    """A value as a person writes it."""
    if isinstance(value, bool):
        return {"zh": ("否", "是"), "en": ("no", "yes")}[language][value]
    if isinstance(value, list):
        return listed([shown(one, language) for one in value], language)
    if isinstance(value, dict):
        return "，".join(f"{name} {shown(one, language)}" for name, one in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def wish_of(definition: Definition, language: Language) -> str:
    """The description as the object of a request: its first sentence, without its stop."""
    text = definition.description.split("\n")[0]
    text = text.split("。")[0] if language == "zh" else text.split(". ")[0].removesuffix(".")
    text = text.strip() or definition.name.replace("_", " ")
    return text[0].lower() + text[1:] if text[:2].istitle() else text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _closed(text: str, language: Language) -> str:
    return text if text[-1:] in "。？！.?!" else text + ("。" if language == "zh" else ".")


def listed(parts: Sequence[str], language: Language) -> str:
    if len(parts) < 2:
        return "".join(parts)
    head, last = parts[:-1], parts[-1]
    return "、".join(head) + "和" + last if language == "zh" else ", ".join(head) + " and " + last
