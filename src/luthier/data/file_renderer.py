"""Stage 5, file renderer: a base model and training files in; out comes a renderer for every call in these files.

It uses Luthier's call form if the base model's chat template cannot represent a call in them.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from luthier.data.check.file_check import checked_examples
from luthier.data.examples.example import Example
from luthier.data.findings import FindingError
from luthier.data.jsonl.reader import read_lines
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.template_probes import NEEDS, Need


def renderer_of_files(
    base: Path, paths: Iterable[Path], method: str = "supervised", loaded: Renderer | None = None
) -> Renderer:
    """A renderer of `base` that can represent every call in the files.

    Args:
        base: A model folder.
        paths: JSONL files; lines with errors are skipped.
        method: The training method of the files.
        loaded: The base model's default renderer, if the caller has it already.

    Raises:
        BaseModelError: The base model has no usable tokenizer or chat template.
    """
    renderer = loaded or Renderer(base)
    lacking = frozenset(renderer.choice.unmet(NEEDS))
    if not lacking:
        return renderer
    needs = lacking & {need for path in paths for example in _examples(path, method) for need in _needs(example)}
    return Renderer(base, needs=needs) if needs else renderer


def _examples(path: Path, method: str) -> Iterator[Example]:
    for line in read_lines(path):
        with suppress(FindingError):
            yield from checked_examples(line, method)


def _needs(example: Example) -> Iterator[Need]:
    for message in example.messages:
        calls = message.get("tool_calls") or []
        if message.get("role") == "assistant" and len(calls) > 1:
            yield "parallel calls"
        if message.get("role") == "assistant" and message.get("content") and (calls or message.get("function_call")):
            yield "text beside calls"
