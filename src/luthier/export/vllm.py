"""The command line that serves a merged folder with vLLM: model name, chat template, and tool-call parser."""

import shlex
from pathlib import Path

from luthier.export.source import ExportSource

SCRIPT = "serve.sh"
# vLLM's parser (vllm serve --tool-call-parser) for each of Luthier's formats of tool calls.
_PARSERS = {
    "hermes": "hermes",
    "qwen3-xml": "qwen3_coder",
    "glm4": "glm45",
    "mistral": "mistral",
    "mistral-list": "mistral",
    "llama3": "llama3_json",
    "lfm2": "lfm2",
    "gemma4": "gemma4",
    "deepseek": "deepseek_v3",
    "harmony": "openai",
}


def command(source: ExportSource, folder: str) -> list[str]:
    """The arguments for vLLM; those for tool calls are included only if the model was trained on tool calls."""
    arguments = ["vllm", "serve", folder, "--served-model-name", source.model.id]
    arguments += ["--chat-template", f"{folder}/chat_template.jinja"]
    parser = _PARSERS.get(source.renderer.call_form.name)
    if source.metadata.definitions and parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    return arguments


def write_command(source: ExportSource, folder: Path) -> None:
    """Writes serve.sh, which works wherever the folder is moved to and passes its arguments on to vLLM."""
    line = shlex.join(command(source, "@")).replace("@/chat_template.jinja", '"$here"/chat_template.jinja')
    line = line.replace(" @ ", ' "$here" ', 1)
    script = folder / SCRIPT
    script.write_text(f'#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nexec {line} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
