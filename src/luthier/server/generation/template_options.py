"""Chat template options of a request, as in other servers: `chat_template_kwargs`, `reasoning_effort`."""

from typing import Any

from luthier.data.rendering.chat_template import THINKING_SWITCHES
from luthier.data.rendering.renderer import Renderer
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError

_EFFORT = "reasoning_effort"


def template_options(body: CreateChatCompletionRequest, renderer: Renderer, *, reasons: bool) -> dict[str, Any]:
    """Variables of the chat template.

    An effort is passed to a template that reads it; `none` turns reasoning off, and every other value turns it on.
    `chat_template_kwargs` take precedence.

    Args:
        reasons: Whether the model was trained with reasoning.

    Raises:
        BadRequestError: The template does not read a variable, or an effort is set for a base model without reasoning
            that could be turned on.
    """
    requested_options = body.chat_template_kwargs or {}
    variables = renderer.template.variables
    for name in requested_options:
        if name not in variables and name not in THINKING_SWITCHES:  # clients send the switches to every model
            raise _unknown_variable(name, sorted(variables.union(THINKING_SWITCHES)))
    effort = body.reasoning_effort
    if effort is None:
        return requested_options
    if not (reasons or renderer.choice.can_reason):
        if effort != "none":
            raise _no_reasoning(body.model, effort)
        return requested_options
    options: dict[str, Any] = dict.fromkeys(THINKING_SWITCHES, effort != "none")
    if _EFFORT in variables and effort != "none":
        options[_EFFORT] = effort
    return options | requested_options


def thinks(options: dict[str, Any], *, reasons: bool) -> bool:
    """Whether answers begin with reasoning: as requested, otherwise as the model was trained."""
    return bool(next((options[name] for name in THINKING_SWITCHES if name in options), reasons))


def _unknown_variable(name: str, variables: list[str]) -> BadRequestError:
    param = f"chat_template_kwargs.{name}"
    message = f"Unknown parameter: '{param}'. The chat template of this model reads {', '.join(variables)}."
    return BadRequestError(message, param=param, code="unknown_parameter")


def _no_reasoning(model: str, effort: str) -> BadRequestError:
    message = (
        f"Invalid value: '{effort}'. The model '{model}' was not trained to reason, and its chat template cannot turn "
        "reasoning on. Supported values are: 'none'."
    )
    return BadRequestError(message, param=_EFFORT, code="invalid_value")
