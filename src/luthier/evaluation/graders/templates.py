"""Templates: `{{item.answer}}`, `{{ sample.output_json.choices[0].text }}`, `{{sample.output_tools[0].function.name}}`.

Paths are looked up, never evaluated: a template can access only the data item and the sample.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from luthier.evaluation.graders.failures import invalid_variable, other_failure, sample_not_json

MAX_FILLED_CHARACTERS = 1_000_000
_TEMPLATE = re.compile(r"\{\{([^{}]{0,500})\}\}")  # bounded, so that a text full of braces is searched quickly
_UNCLOSED = re.compile(r"\{\{\s*(?:item|sample)\s*[.\[]")  # in a text without its templates
_STEP = re.compile(r"\.([^.\[\]\s]+)|\[(-?\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_SAMPLE = ("output_text", "output_json", "output_tools", "choices")


@dataclass(frozen=True)
class Sample:
    """A model's output: its `text` and its `tools`, which are tool calls in the form of `tool_calls`.

    `fields`: further variables; if none of them is an output, they are the only variables.
    """

    text: str
    tools: list[dict[str, Any]] = field(default_factory=list)
    fields: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Sample":
        """The output in a data source, which may have any of `output_text`, `output_tools` and `choices`."""
        message = _first_message(fields.get("choices"))
        text = fields.get("output_text", _content(message.get("content")))
        tools = fields.get("output_tools", message.get("tool_calls"))
        return cls(text if isinstance(text, str) else "", tools if isinstance(tools, list) else [], fields)

    @cached_property
    def namespace(self) -> dict[str, Any]:
        """The variables of templates and Python graders; `output_json` exists only if the text is JSON."""
        if self.fields is not None and not self.fields.keys() & {"output_text", "output_tools", "choices"}:
            return dict(self.fields)
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tools:
            message["tool_calls"] = self.tools
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls" if self.tools else "stop"}]
        namespace: dict[str, Any] = {"output_text": self.text, "output_tools": self.tools, "choices": choices}
        with suppress(ValueError, RecursionError):
            namespace["output_json"] = json.loads(self.text)
        return namespace | dict(self.fields or {})


def _first_message(choices: Any) -> dict[str, Any]:
    """The message of the first choice; empty if there is none."""
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    return message if isinstance(message, dict) else {}


def _content(content: Any) -> Any:
    """The joined text of a list of parts; any other content unchanged."""
    if not isinstance(content, list):
        return content
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def fill(template: str, sample: Sample, data_item: dict[str, Any]) -> str:
    """Fills in every template of a text: strings as they are, other values as JSON.

    Raises GraderFailure for an unknown variable, and if the values have more than `MAX_FILLED_CHARACTERS`.
    """
    added = 0

    def replacement(match: re.Match[str]) -> str:
        nonlocal added
        value = look_up(match[1].strip(), sample, data_item)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        added += len(text)
        if added > MAX_FILLED_CHARACTERS:
            raise other_failure(f"the filled template has more than {MAX_FILLED_CHARACTERS:,} characters")
        return text

    return _TEMPLATE.sub(replacement, template)


def template_error(text: str) -> str | None:
    """Why a text with templates is invalid for every item and sample; None if it may be valid."""
    around = _TEMPLATE.sub(" ", text)
    opened = around.rfind("{{")
    # The second case has a '}}' that belongs to other text, such as an example in JSON.
    if (opened >= 0 and "}}" not in around[opened:]) or _UNCLOSED.search(around):
        return "a '{{' has no '}}'"
    errors = (path_error(match[1].strip()) for match in _TEMPLATE.finditer(text))
    return next((error for error in errors if error), None)


def path_error(path: str) -> str | None:
    """Why a path is invalid for every item and sample; None if it may be valid."""
    try:
        root, steps = _parse(path)
    except ValueError as error:
        return str(error)
    if root == "sample" and steps and steps[0] not in _SAMPLE:
        return f"'{path}' does not exist: a sample has {', '.join(_SAMPLE)}"
    return None


def _parse(path: str) -> tuple[str, list[str | int]]:
    """`item.a[0]` becomes ("item", ["a", 0]). Raises ValueError."""
    root = re.match(r"(item|sample)(?=[.\[])", path)
    steps: list[str | int] = []
    position = root.end() if root else 0
    while root and position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            break
        name, index, single, double = step.groups()
        steps.append(int(index) if index is not None else next(n for n in (name, single, double) if n is not None))
        position = step.end()
    if not root or position < len(path) or not steps:
        raise ValueError(f"'{path[:100]}' is not a variable: write, for example, item.name or sample.output_text")
    return root[1], steps


def look_up(path: str, sample: Sample, data_item: dict[str, Any]) -> Any:
    """The value of a variable. Raises GraderFailure."""
    try:
        root, steps = _parse(path)
    except ValueError as error:
        raise invalid_variable(str(error)) from None
    value: Any = data_item if root == "item" else sample.namespace
    if root == "sample" and steps[0] == "output_json" and "output_json" not in value:
        raise sample_not_json("the sample is not JSON, so it has no output_json")
    for step in steps:
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise invalid_variable(f"'{path}' does not exist: '{step}' is missing") from None
    return value
