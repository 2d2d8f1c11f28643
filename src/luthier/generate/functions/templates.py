"""Phrasings without a teacher: sentence frames around a function's description and parameters, in both languages.

The user's own phrasings ("我是{dept}的{name}，想请{days}天假") take precedence; `{days:zh}` writes Chinese
numerals. The frames read stiffly: examples without a teacher are for trying the workflow.
"""

import json
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.generate.errors import OptionsError
from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.enumerate import Invocation
from luthier.generate.functions.grounding import chinese_number
from luthier.language import Language, say

_FRAMES: dict[Language, tuple[str, ...]] = {
    "zh": (
        "请{request}，{values}。",
        "帮我{request}：{values}。",
        "{values}，请{request}。",
        "麻烦{request}，{values}，谢谢。",
        "我需要{request}，{values}。",
        "能不能{request}？{values}。",
        "想{request}，{values}",
        "{request}，{values}，尽快。",
    ),
    "en": (
        "Please {request}: {values}.",
        "Can you {request}? {Values}.",
        "I need you to {request}, {values}.",
        "{Values}. Please {request}.",
        "{Request}, {values}.",
        "Could you {request} with {values}?",
        "Hi, {request} please, {values}.",
        "{Request}. {Values}, thanks.",
    ),
}
_BARE_FRAMES: dict[Language, tuple[str, ...]] = {
    "zh": ("请{request}。", "帮我{request}。", "麻烦{request}，谢谢。", "能{request}吗？", "我想{request}。"),
    "en": ("Please {request}.", "Can you {request}?", "I need you to {request}.", "{Request}, please."),
}
_VALUE_FRAMES: dict[Language, tuple[str, ...]] = {
    "zh": ("{label}是{value}", "{label}：{value}", "{label}为{value}", "{label}{value}"),
    "en": ("the {label} is {value}", "{label} {value}", "{label}: {value}"),
}
_TWO_REQUESTS: dict[Language, tuple[str, ...]] = {
    "zh": ("{first}另外，{second}", "{first}还有，{second}", "两件事：{first}{second}"),
    "en": ("{first} Also: {second}", "{first} And another thing: {second}", "Two things. {first} {second}"),
}
_CLARIFYING_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "zh": ("请告诉我{labels}。", "还需要{labels}，请补充一下。", "请问{labels}是什么？"),
    "en": ("What is the {labels}?", "I also need the {labels}.", "Please tell me the {labels}."),
}


class _NumeralFormatter(string.Formatter):
    """Formats `{days:zh}` in Chinese numerals, and all other fields as text."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec != "zh" or not isinstance(value, int):
            return str(value)
        return "两" if value == 2 else chinese_number(value)  # a measure word follows


_FORMATTER = _NumeralFormatter()


def template_fields(template: str) -> set[str]:
    """The parameters that a template names. Raises ValueError for unbalanced braces."""
    return {name for _, name, _, _ in _FORMATTER.parse(template) if name is not None}


def check_phrasing(template: str, definition: FunctionDefinition) -> None:
    """Raises OptionsError if the template has unbalanced braces or names an unknown parameter."""
    try:
        unknown = template_fields(template) - set(definition.properties)
    except ValueError:
        unknown = {"{}"}
    if unknown:
        raise OptionsError(
            say(
                f"The phrasing “{template}” of {definition.name} contains {', '.join(sorted(unknown))}, which is not "
                f"one of its parameters: {', '.join(definition.properties)}.",
                f"{definition.name} 的说法“{template}”里的 {'、'.join(sorted(unknown))} 不是它的参数，"
                f"参数有：{'、'.join(definition.properties)}。",
            )
        )


def fill_phrasing(template: str, arguments: Mapping[str, Any], language: Language) -> str:
    values = {
        name: value if isinstance(value, int) else format_value(value, language) for name, value in arguments.items()
    }
    return _FORMATTER.vformat(template, (), values)


def frame_message(invocation: Invocation, names: Sequence[str], language: Language, rng: random.Random) -> str:
    """A message that asks for the invocation with the values of `names`, in shuffled order."""
    request = request_phrase(invocation.definition, language)
    if not names:
        return rng.choice(_BARE_FRAMES[language]).format(request=request, Request=_capitalize(request))
    value_frame = rng.choice(_VALUE_FRAMES[language])
    order = rng.sample(list(names), len(names))
    label, arguments = invocation.definition.label, invocation.arguments
    pairs = [
        value_frame.format(label=label(name, language), value=format_value(arguments[name], language)) for name in order
    ]
    values = ("，" if language == "zh" else ", ").join(pairs)
    template = rng.choice(_FRAMES[language])
    return template.format(request=request, Request=_capitalize(request), values=values, Values=_capitalize(values))


def join_messages(first: str, second: str, language: Language, rng: random.Random) -> str:
    """A message that contains both requests."""
    return rng.choice(_TWO_REQUESTS[language]).format(first=_with_full_stop(first, language), second=second)


def clarifying_question(
    definition: FunctionDefinition, names: Sequence[str], language: Language, rng: random.Random
) -> str:
    """The answer to a request that lacks the values of `names`, which it asks for."""
    labels = [definition.label(name, language) for name in names]
    joined = join_list(labels, language)
    templates = _CLARIFYING_QUESTIONS[language]
    if len(labels) > 1 and language == "zh":
        templates = templates[:2]  # the third is worded for a single value
    text = rng.choice(templates).format(labels=joined)
    return text.replace("What is the", "What are the") if len(labels) > 1 else text


def format_value(value: Any, language: Language) -> str:
    """`value` as people would write it in a message."""
    if isinstance(value, bool):
        return {"zh": ("否", "是"), "en": ("no", "yes")}[language][value]
    if isinstance(value, list):
        return join_list([format_value(inner, language) for inner in value], language)
    if isinstance(value, dict):
        return "，".join(f"{name} {format_value(inner, language)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def request_phrase(definition: FunctionDefinition, language: Language) -> str:
    """The function's description as part of a request: its first sentence, without the full stop."""
    text = definition.description.split("\n")[0]
    text = text.split("。")[0] if language == "zh" else text.split(". ")[0].removesuffix(".")
    text = text.strip() or definition.name.replace("_", " ")
    return text[0].lower() + text[1:] if text[:2].istitle() else text


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def _with_full_stop(text: str, language: Language) -> str:
    return text if text[-1:] in "。？！.?!" else text + ("。" if language == "zh" else ".")


def join_list(parts: Sequence[str], language: Language) -> str:
    if len(parts) < 2:
        return "".join(parts)
    head, last = parts[:-1], parts[-1]
    return "、".join(head) + "和" + last if language == "zh" else ", ".join(head) + " and " + last
