"""`chat_template_kwargs` and `reasoning_effort` mean what they mean on other servers."""

from pathlib import Path
from typing import Any

import pytest

from luthier.data.rendering.renderer import Renderer
from luthier.server.generation.template_options import template_options, thinks
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError
from templates import ENDS_CONVERSATIONS, REASONS, SWITCHES, write_base

# In the manner of gpt-oss: an effort in the system message.
EFFORTS = """{% if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif %}\
{{ '<system>Effort: ' + reasoning_effort + '<end>' }}{% for message in messages %}\
{{ '<' + message.role + '>' + message.content + '<end>' }}{% endfor %}{{ '<assistant>' if add_generation_prompt }}"""
QUESTION = [{"role": "user", "content": "q"}]


def prompt(renderer: Renderer, *, reasons: bool = False, **parameters: Any) -> str:
    """What the model reads."""
    body = CreateChatCompletionRequest.model_validate({"model": "m", "messages": QUESTION, **parameters})
    options = template_options(body, renderer, reasons=reasons)
    return renderer.decode(renderer.prompt(QUESTION, thinking=thinks(options, reasons=reasons), options=options))


@pytest.mark.parametrize("template", [REASONS, SWITCHES], ids=["always", "switch"])
def test_an_effort_turns_reasoning_on_and_none_turns_it_off(template: str, tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", template))
    off = prompt(renderer)
    on = prompt(renderer, chat_template_kwargs={"enable_thinking": True})
    assert off.endswith("</think>\n\n")
    assert not on.endswith("</think>\n\n")
    for effort in ("minimal", "low", "medium", "high", "xhigh", "max"):
        assert prompt(renderer, reasoning_effort=effort) == on
    assert prompt(renderer, reasoning_effort="none") == off
    assert prompt(renderer, reasons=True) == on
    assert prompt(renderer, reasoning_effort="none", reasons=True) == off


def test_chat_template_kwargs_come_before_the_effort(tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", SWITCHES))
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    assert prompt(renderer, reasoning_effort="high", **off) == prompt(renderer)


def test_an_effort_reaches_a_template_that_reads_it(tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", EFFORTS))
    assert renderer.template.variables == {"reasoning_effort"}
    assert "Effort: medium" in prompt(renderer)
    assert "Effort: high" in prompt(renderer, reasoning_effort="high")
    assert "Effort: low" in prompt(renderer, chat_template_kwargs={"reasoning_effort": "low"})
    assert prompt(renderer, reasoning_effort="none") == prompt(renderer)


def test_a_model_without_reasoning_names_what_it_takes(tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", ENDS_CONVERSATIONS))
    with pytest.raises(BadRequestError, match="Supported values are: 'none'") as error_info:
        prompt(renderer, reasoning_effort="low")
    assert (error_info.value.param, error_info.value.code) == ("reasoning_effort", "invalid_value")
    switched_off = prompt(renderer, chat_template_kwargs={"enable_thinking": False})
    assert prompt(renderer) == prompt(renderer, reasoning_effort="none") == switched_off
    assert prompt(renderer, reasoning_effort="low", reasons=True) == prompt(renderer)  # it was trained to reason


def test_a_variable_that_the_template_does_not_read_is_refused(tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", EFFORTS))
    with pytest.raises(BadRequestError, match="reads enable_thinking, reasoning_effort, thinking") as error_info:
        prompt(renderer, chat_template_kwargs={"effort": "low"})
    assert (error_info.value.param, error_info.value.code) == ("chat_template_kwargs.effort", "unknown_parameter")
    with pytest.raises(BadRequestError):
        prompt(renderer, chat_template_kwargs={"messages": []})
