"""Templates: `{{item.answer}}`, `{{ sample.output_json.choices[0].text }}`, `{{sample.output_tools[0].function.name}}`.

A path is looked up and nothing is computed: what a template can reach is the item and the sample.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from luthier.evaluation.graders.failures import invalid_variable, sample_parse

_TEMPLATE = re.compile(r"\{\{([^{}]{0,500})\}\}")  # bounded, so that a text full of braces is read quickly
_STEP = re.compile(r"\.([^.\[\]\s]+)|\[(-?\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_SAMPLE = ("output_text", "output_json", "output_tools", "choices")


@dataclass(frozen=True)
class Sample:
    """What a model said: `text`, and the calls it made in the form of `tool_calls`."""

    text: str
    tools: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def namespace(self) -> dict[str, Any]:
        """What templates and Python graders see; `output_json` is there only where the text is JSON."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tools:
            message["tool_calls"] = self.tools
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls" if self.tools else "stop"}]
        made: dict[str, Any] = {"output_text": self.text, "output_tools": self.tools, "choices": choices}
        with suppress(ValueError, RecursionError):
            made["output_json"] = json.loads(self.text)
        return made


def fill(template: str, sample: Sample, item: dict[str, Any]) -> str:
    """The text with every template replaced: text as it is, anything else as JSON. Raises GraderFailure."""

    def value(found: re.Match[str]) -> str:
        reached = _look_up(found[1].strip(), sample, item)
        return reached if isinstance(reached, str) else json.dumps(reached, ensure_ascii=False)

    return _TEMPLATE.sub(value, template)


def paths(template: str) -> list[str]:
    """What stands in the braces."""
    return [found[1].strip() for found in _TEMPLATE.finditer(template)]


def path_error(path: str) -> str | None:
    """Why the path can never be found, whatever item and sample there are; None when it may be."""
    try:
        root, steps = _parse(path)
    except ValueError as error:
        return str(error)
    if root == "sample" and steps and steps[0] not in _SAMPLE:
        return f"'{path}': a sample has {', '.join(_SAMPLE)}"
    return None


def _parse(path: str) -> tuple[str, list[str | int]]:
    """`item.a[0]` becomes ("item", ["a", 0]). Raises ValueError."""
    root = re.match(r"(item|sample)(?=[.\[])", path)
    steps: list[str | int] = []
    at = root.end() if root else 0
    while root and at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            break
        name, index, single, double = step.groups()
        steps.append(int(index) if index is not None else next(n for n in (name, single, double) if n is not None))
        at = step.end()
    if not root or at < len(path) or not steps:
        raise ValueError(f"'{path[:100]}' is no variable: they look like item.name and sample.output_text")
    return root[1], steps


def _look_up(path: str, sample: Sample, item: dict[str, Any]) -> Any:
    try:
        root, steps = _parse(path)
    except ValueError as error:
        raise invalid_variable(str(error)) from None
    value: Any = item if root == "item" else sample.namespace
    if root == "sample" and steps[0] == "output_json" and "output_json" not in value:
        raise sample_parse("the sample is not JSON, so it has no output_json")
    for step in steps:
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise invalid_variable(f"'{path}' is not there: '{step}' is missing") from None
    return value
