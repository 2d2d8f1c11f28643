"""Stage 5, the renderer of files: a base model and files in; a renderer that can write all of their calls out.

It has Luthier's form of calls if the base's own cannot write theirs.
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
    """`paths`: JSONL files, whose lines with errors count for nothing; `loaded`: the base's renderer for any file, if
    the caller has it. Raises BaseModelError.
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
