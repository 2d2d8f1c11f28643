"""The Modelfile of an Ollama folder: weights file, Go template, stop sequences, and context size."""

from pathlib import Path

from luthier.base_config import context_tokens
from luthier.data.rendering.renderer import Renderer
from luthier.export.ollama.turn_texts import FunctionTexts, TurnTexts, measure
from luthier.export.source import ExportSource
from luthier.language import say
from luthier.types.errors import ExportError

MODELFILE = "Modelfile"
_MAX_CONTEXT = 8192  # tokens; Ollama reserves memory for all of them, and users can raise num_ctx in the Modelfile
_QUOTES = '"""'


def write_modelfile(source: ExportSource, folder: Path, weights: str) -> None:
    """Writes the Modelfile; `weights` is the name of the GGUF file in `folder`.

    Raises:
        ExportError: The chat template cannot be translated.
    """
    template = go_template(source.renderer, calls=bool(source.metadata.definitions))
    stops = sorted(source.renderer.decode([token]) for token in source.renderer.stop_ids)
    context = min(context_tokens(source.base) or _MAX_CONTEXT, _MAX_CONTEXT)
    lines = [
        f"# {source.model.id}, fine-tuned from {source.base_name}. In this folder: ollama create NAME",
        f"FROM ./{weights}",
        f"TEMPLATE {_QUOTES}{template}{_QUOTES}",
        *(f'PARAMETER stop "{stop}"' for stop in stops),
        f"PARAMETER num_ctx {context}",
    ]
    (folder / MODELFILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def go_template(renderer: Renderer, *, calls: bool) -> str:
    """The chat template in the language of Go's text/template, with Ollama's variables.

    Args:
        calls: Whether the model calls functions, so that the template needs blocks for definitions and calls.

    Raises:
        ExportError: The chat template cannot be translated.
    """
    texts = measure(renderer.choice.composer, calls=calls)
    template = _head(texts) + _turns(texts) + _literal(texts.opening)
    if _QUOTES in template:
        raise ExportError(
            say("The chat template has three quotation marks in a row, which a Modelfile cannot hold. Export gguf.",
                "对话模板中有三个连续的引号，Modelfile 无法表示。请导出 gguf。"))  # fmt: skip
    return template


def _head(texts: TurnTexts) -> str:
    system = f"{{{{ if .System }}}}{_around(texts.system.before, '.System', texts.system.after)}"
    plain = f"{system}{{{{ else }}}}{_literal(texts.no_system)}{{{{ end }}}}"
    functions = texts.functions
    if functions is None:
        return plain
    with_system = _around(functions.system.before, ".System", functions.system.after)
    before = f"{{{{ if .System }}}}{with_system}{{{{ else }}}}{_literal(functions.first)}{{{{ end }}}}"
    between = f"{{{{ if $index }}}}{_literal(functions.between)}{{{{ end }}}}"
    definitions = f"{{{{ range $index, $tool := .Tools }}}}{between}{{{{ $tool }}}}{{{{ end }}}}"
    return f"{{{{ if .Tools }}}}{before}{definitions}{_literal(functions.last)}{{{{ else }}}}{plain}{{{{ end }}}}"


def _turns(texts: TurnTexts) -> str:
    """The loop over the messages: users, answers with their calls, and results."""
    functions = texts.functions
    user = f'{{{{ if eq $message.Role "user" }}}}{_around(texts.user.before, "$message.Content", texts.user.after)}'
    answer = "{{ $message.Content }}" + (_calls(functions) if functions else "")
    before, after = _literal(texts.assistant.before), _literal(texts.assistant.after)
    assistant = f'{{{{ else if eq $message.Role "assistant" }}}}{before}{answer}{after}'
    if functions is None:
        return f"{{{{ range $message := .Messages }}}}{user}{assistant}{{{{ end }}}}{{{{ end }}}}"
    end_of_results = _literal(functions.result.after)
    close = f'{{{{ if and (eq $previous "tool") (ne $message.Role "tool") }}}}{end_of_results}{{{{ end }}}}'
    first, between = _literal(functions.result.before), _literal(functions.between_results)
    result = (
        '{{ else if eq $message.Role "tool" }}'
        f'{{{{ if eq $previous "tool" }}}}{between}{{{{ else }}}}{first}{{{{ end }}}}{{{{ $message.Content }}}}'
    )
    turn = f"{close}{user}{assistant}{result}{{{{ end }}}}{{{{ $previous = $message.Role }}}}"
    last = f'{{{{ if eq $previous "tool" }}}}{end_of_results}{{{{ end }}}}'
    return f'{{{{ $previous := "" }}}}{{{{ range $message := .Messages }}}}{turn}{{{{ end }}}}{last}'


def _calls(functions: FunctionTexts) -> str:
    before, between, after = map(_literal, functions.call)
    after_text = f"{{{{ else if $message.Content }}}}{_literal(functions.after_text)}"
    lead = f"{{{{ if $index }}}}{_literal(functions.between_calls)}{after_text}{{{{ end }}}}"
    call = f"{before}{{{{ $call.Function.Name }}}}{between}{{{{ $call.Function.Arguments }}}}{after}"
    return f"{{{{ range $index, $call := $message.ToolCalls }}}}{lead}{call}{{{{ end }}}}"


def _around(before: str, variable: str, after: str) -> str:
    return f"{_literal(before)}{{{{ {variable} }}}}{_literal(after)}"


def _literal(text: str) -> str:
    """`text` as template text: double braces start an action in Go templates and are escaped, as is a final brace."""
    text = text.replace("{{", '{{ "{{" }}')
    return text[:-1] + '{{ "{" }}' if text.endswith("{") else text
