"""The Modelfile's template, rendered by Go's text/template, writes the prompts that the model was trained on."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from export.installation import TOOLS, Installation
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.renderer import Renderer
from luthier.export.ollama.modelfile import go_template, write_modelfile
from luthier.types.errors import ExportError
from templates import LAST_QUESTION, NO_FUNCTIONS, write_base

GO = shutil.which("go") or "/usr/lib/go/bin/go"
PROGRAM = Path(__file__).with_name("render_template.go")
QWEN = """{%- if tools -%}{{- '<|im_start|>system\\n' -}}
{%- if messages[0].role == 'system' -%}{{- messages[0].content + '\\n\\n' -}}{%- endif -%}
{{- '# Tools\\n<tools>' -}}{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\\n</tools>{{ braces }}<|im_end|>\\n' -}}
{%- elif messages[0].role == 'system' -%}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' -}}
{%- elif message.role == 'assistant' -%}{{- '<|im_start|>assistant\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n{"name": "' + call.function.name -}}
{{- '", "arguments": ' + (call.function.arguments | tojson) + '}\\n</tool_call>' -}}{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- elif message.role == 'tool' -%}
{%- if messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
CALL = {"function": {"name": "light", "arguments": {"on": True, "room": '<好> & "x"'}}}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "a {{ b }}\n"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}],
]
CALLS: list[list[dict[str, Any]]] = [
    [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": content, "tool_calls": [CALL] * count},
        *({"role": "tool", "content": f"result {number}"} for number in range(count)),
        *more,
    ]
    for content in ("", "Just a moment.")
    for count in (1, 2)
    for more in ([], [{"role": "assistant", "content": "done"}, {"role": "user", "content": "thanks"}])
]


def compact(text: str) -> str:
    """Definitions and calls in one spelling: Ollama writes JSON without spaces, and escapes <, > and &."""
    for value in (*TOOLS, CALL["function"]["arguments"]):
        spaced, bare = lossless_json.dumps(value), json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        escaped = re.sub("[<>&]", lambda mark: f"\\u{ord(mark[0]):04x}", _sorted(value))
        text = text.replace(spaced, bare).replace(escaped, bare)
    return text


def _sorted(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def expected(renderer: Renderer, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
    segments = renderer.choice.composer.segments(messages, tools, answer_next=True)
    return "".join(segment.text for segment in segments)


@pytest.mark.skipif(not Path(GO).exists(), reason="Go is not installed (Debian: golang-go)")
def test_go_renders_what_was_trained(installation: Installation, tmp_path: Path) -> None:
    qwen = Renderer(write_base(tmp_path / "qwen", QWEN))
    assert qwen.template.text == QWEN
    renderers = [installation.source.renderer, qwen]  # the first has Luthier's ChatML with the base's opening
    cases = [(messages, tools) for messages in CONVERSATIONS + CALLS for tools in (None, TOOLS)]
    conversations = [{"messages": messages, "tools": tools} for messages, tools in cases]
    inputs = [{"template": go_template(renderer, calls=True), "conversations": conversations} for renderer in renderers]
    command = [GO, "run", str(PROGRAM)]
    ran = subprocess.run(command, input=json.dumps(inputs), capture_output=True, text=True, check=True)
    prompts = iter(json.loads(ran.stdout))
    for renderer in renderers:
        for messages, tools in cases:
            assert compact(next(prompts)) == compact(expected(renderer, messages, tools))


@pytest.mark.parametrize("template", [NO_FUNCTIONS, LAST_QUESTION])
def test_a_template_that_cannot_be_taken_apart_is_refused(template: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be written as an Ollama template"):
        go_template(Renderer(write_base(tmp_path / "base", template)), calls=False)


def test_the_modelfile(installation: Installation, tmp_path: Path) -> None:
    write_modelfile(installation.source, tmp_path, "model-q8_0.gguf")
    text = (tmp_path / "Modelfile").read_text()
    assert "FROM ./model-q8_0.gguf\n" in text
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert "PARAMETER num_ctx 2048\n" in text
    assert "ADAPTER" not in text
