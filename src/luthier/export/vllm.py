"""The command line with which vLLM serves a merged folder: name, template, and the parser of its calls."""

import shlex
from pathlib import Path

from luthier.export.source import ExportSource

SCRIPT = "serve.sh"
# vLLM's names of the parsers that read what a call form writes (vllm serve --tool-call-parser).
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
    """The arguments of vLLM; those for calls only if the model was trained to call functions."""
    arguments = ["vllm", "serve", folder, "--served-model-name", source.model.id]
    arguments += ["--chat-template", f"{folder}/chat_template.jinja"]
    parser = _PARSERS.get(source.renderer.call_form.name)
    if source.metadata.definitions and parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    return arguments


def write_command(source: ExportSource, folder: Path) -> None:
    """Write serve.sh, which runs at any location of the folder and passes on further arguments."""
    line = shlex.join(command(source, "@")).replace("@/chat_template.jinja", '"$here"/chat_template.jinja')
    line = line.replace(" @ ", ' "$here" ', 1)
    script = folder / SCRIPT
    script.write_text(f'#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nexec {line} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
