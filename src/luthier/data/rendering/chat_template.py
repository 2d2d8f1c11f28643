"""Chat templates: Jinja text that turns messages into the text that a base model was trained on.

A base model whose template does not support tools gets Luthier's, provided that both render plain chats identically,
character for character; probe conversations check it.
"""

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from luthier.data.jsonl import lossless_json
from luthier.types.errors import RenderError

_TOOL_TEMPLATE = Path(__file__).parent / "templates" / "chatml_tools.jinja"
_TURN_STARTS = ("<|im_start|>", "<start_of_turn>", "<|start_header_id|>")
# What a template may raise beside Jinja's own errors, for a conversation that its author did not expect.
_TEMPLATE_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_PROBES: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "a b"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
]


class Template:
    """One compiled chat template."""

    def __init__(self, text: str, tokens: dict[str, str]) -> None:
        """`tokens`: the special tokens that templates refer to, such as `bos_token`. Raises RenderError."""
        self.text, self._tokens = text, tokens
        try:
            self._template = _environment().from_string(text)
        except jinja2.TemplateError as error:
            raise RenderError(f"The chat template of this base model cannot be read: {error}") from error

    def render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, answer_next: bool = False
    ) -> str:
        """Messages and definitions as text, with `answer_next` up to the assistant's turn. Raises RenderError."""
        try:
            return self._template.render(
                messages=messages, tools=tools, add_generation_prompt=answer_next, **self._tokens
            )
        except (jinja2.TemplateError, *_TEMPLATE_ERRORS) as error:
            raise RenderError(f"The base model's chat template refuses this conversation: {error}") from error

    @property
    def supports_tools(self) -> bool:
        return "tools" in self.text


def select_template(text: str, tokens: dict[str, str], vocabulary: dict[str, int]) -> Template:
    """The base's own template, or Luthier's with tools if that renders plain chats exactly as the base's does."""
    own = Template(text, tokens)
    if own.supports_tools or not {"<|im_start|>", "<|im_end|>"} <= vocabulary.keys():
        return own
    opening = own.render(_PROBES[0], None).split("<|im_start|>user\n")[0]
    head = f"{{%- set opening = {json.dumps(opening)} -%}}\n"
    ours = Template(head + _TOOL_TEMPLATE.read_text(encoding="utf-8"), tokens)
    same = all(
        own.render(probe, None, answer_next=answer_next) == ours.render(probe, None, answer_next=answer_next)
        for probe in _PROBES
        for answer_next in (False, True)
    )
    return ours if same else own


def fallback_template(tokens: dict[str, str], vocabulary: dict[str, int]) -> Template:
    """Luthier's template, with tokens of the base model, for a base without one, which was not trained to chat.

    Answers end with the token that ends texts. Raises RenderError for a base without it.
    """
    end = tokens.get("eos_token", "")
    if end not in vocabulary:
        raise RenderError("The base model has no chat template, and no end token with which one could be made.")
    begin = next((mark for mark in _TURN_STARTS if mark in vocabulary), "### ")
    text = _TOOL_TEMPLATE.read_text(encoding="utf-8").replace("<|im_start|>", begin).replace("<|im_end|>", end)
    head = "{%- set opening = '' -%}\n" + ("{{- bos_token -}}\n" if tokens.get("bos_token") in vocabulary else "")
    return Template(head + text, tokens)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as model makers expect it: sandboxed, trimmed blocks, `tojson` without ASCII escapes."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lossless_json.dumps
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
