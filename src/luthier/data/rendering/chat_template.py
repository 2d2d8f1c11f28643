"""Chat templates: Jinja text that turns messages into the text that a base model was trained on."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache, cached_property
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from luthier.data.jsonl import lossless_json
from luthier.data.rendering.template_limits import LimitedEnvironment, join_limited, limited_time
from luthier.data.rendering.template_variables import template_variables
from luthier.data.rendering.turn_offsets import (
    LookaheadError,
    TurnOffsets,
    is_one_loop,
    measure_offsets,
    refuse_lookahead,
)
from luthier.types.errors import RenderError

# Variables by which templates turn reasoning on and off.
THINKING_SWITCHES = ("enable_thinking", "thinking")
# Errors that a template may raise, beside Jinja's own, for a conversation that its author did not expect.
_TEMPLATE_ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


class Template:
    """One compiled chat template."""

    def __init__(self, text: str, tokens: dict[str, str]) -> None:
        """`tokens`: the special tokens that templates refer to, such as `bos_token`. Raises RenderError."""
        self.text, self._tokens = text, tokens
        try:
            self._template = _environment().from_string(text)
        except (jinja2.TemplateError, SyntaxError, *_TEMPLATE_ERRORS) as error:
            raise RenderError(f"The chat template of this base model is not valid: {error}") from error

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        answer_next: bool = False,
        thinking: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Messages and definitions as text; with `answer_next`, followed by the beginning of an answer.

        Args:
            thinking: Whether the answers have reasoning, for templates that can turn it off.
            options: Further variables of the template, which take precedence.

        Raises:
            RenderError: The template rejects the conversation.
        """
        variables = {**dict.fromkeys(THINKING_SWITCHES, thinking), **(options or {}), **self._tokens}
        variables |= {"messages": self._with_reasoning(messages), "add_generation_prompt": answer_next}
        return self._generate(variables | {"tools": self._written_definitions(tools)})

    def render_turns(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, answer_next: bool = False
    ) -> TurnOffsets | None:
        """As `render`, with the offset of each message; None if the offsets are not certain or rendering fails."""
        if not self._is_one_loop:
            return None
        variables = {**dict.fromkeys(THINKING_SWITCHES, False), **self._tokens}
        variables |= {"add_generation_prompt": answer_next, "tools": self._written_definitions(tools)}
        try:
            with limited_time():
                return measure_offsets(self._template, messages, variables)
        except (LookaheadError, jinja2.TemplateError, *_TEMPLATE_ERRORS):
            return None

    def _generate(self, variables: Mapping[str, Any]) -> str:
        """Raises RenderError."""
        try:
            with limited_time():
                return join_limited(self._template.generate(variables))
        except (jinja2.TemplateError, *_TEMPLATE_ERRORS) as error:
            raise RenderError(f"The base model's chat template rejects this conversation: {error}") from error

    def _with_reasoning(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages, with their reasoning also under `thinking`, the other name that templates read."""
        if "message.thinking" not in self.text:
            return messages
        return [
            {**message, "thinking": message["reasoning_content"]} if message.get("reasoning_content") else message
            for message in messages
        ]

    def _written_definitions(self, tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        if tools is None:
            return self._no_definitions
        if not self._needs_descriptions:
            return tools
        defaults = {"description": "", "parameters": {"type": "object", "properties": {}}}
        return [{**tool, "function": defaults | tool["function"]} for tool in tools]

    @cached_property
    def _no_definitions(self) -> list[dict[str, Any]] | None:
        """The value for no definitions: None, or an empty list for a template that iterates over it unconditionally."""
        return [] if not self._takes(None) and self._takes([]) else None

    @cached_property
    def _needs_descriptions(self) -> bool:
        """Whether the template fails on a definition that consists of a name only."""
        return not self._takes([{"type": "function", "function": {"name": "a"}}])

    def _takes(self, tools: list[dict[str, Any]] | None) -> bool:
        """Whether the template can render a question with these definitions."""
        question = {"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": False}
        try:
            self._generate({**question, **self._tokens, "tools": tools})
        except RenderError:
            return False
        return True

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names of the variables that a request may set, such as `enable_thinking`."""
        return template_variables(_environment().parse(self.text))

    @cached_property
    def _is_one_loop(self) -> bool:
        return is_one_loop(_environment().parse(self.text))


class _GenerationMarks(Extension):
    """`{% generation %}`, by which other trainers find the answers, renders its content unchanged."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(LimitedEnvironment):
    """The sandbox. It reports the attributes that a template reads to `turn_offsets`."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        refuse_lookahead(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        refuse_lookahead(obj, argument)
        return super().getitem(obj, argument)


@cache
def _environment() -> _Environment:
    """The Jinja environment that model makers expect: sandboxed, trimmed blocks, `tojson` without ASCII escapes."""
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationMarks])
    environment.filters["tojson"] = lossless_json.dumps
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
