"""What is fuzzed: each target takes any bytes and raises for what must not happen, and for nothing else."""

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from luthier.catalogue.gguf_header import read_header
from luthier.data.check.file_check import check_file, checked_examples
from luthier.data.check.method import METHODS
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.convert import prepared
from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.examples.example import Example
from luthier.data.findings import Finding, FindingError
from luthier.data.jsonl.reader import read_lines
from luthier.data.rendering.call_form import CallForm, collect_answer
from luthier.data.rendering.marked_form import SpecialTokens
from luthier.data.rendering.renderer import Rendered, Renderer
from luthier.data.rendering.template_choice import FORMS
from luthier.data.repair import repair_file
from luthier.server.generation.structured_output import response_grammar
from luthier.server.generation.tool_calls import call_policy
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError, BaseModelError, JobError, RenderError
from luthier.types.strict_json import parse_json
from luthier.weights import count_parameters, is_float32, lora_targets
from nasty_calls import TOOLS
from templates import ENDS_CONVERSATIONS, NO_FUNCTIONS, REASONS, SWITCHES, write_base

Choice = TypeVar("Choice")
Target = Callable[[bytes, Path], None]  # the input, and a folder of its own for the whole run


def _chosen(choices: Sequence[Choice], data: bytes) -> Choice:
    return choices[zlib.crc32(data) % len(choices)]


def jsonl(data: bytes, folder: Path) -> None:
    """A training file: checked, its findings written, repaired."""
    path, method = folder / "train.jsonl", _chosen(METHODS, data)
    path.write_bytes(data)
    report = check_file(path, method=method, minimum_examples=1, quality=QualityRunner())
    for finding in report.findings:
        _write_finding(finding)
    out, rejects = io.BytesIO(), io.BytesIO()
    try:
        repaired = repair_file(path, out, rejects, method=method)
    except FindingError:
        return
    assert repaired.examples + repaired.rejected == report.examples


def _write_finding(finding: Finding) -> None:
    """As a response and a terminal would: in both languages, in JSON, in UTF-8."""
    texts = [finding.text("en"), finding.text("zh"), finding.remedy("en"), finding.remedy("zh")]
    assert all(texts), finding
    json.dumps([texts, finding.wire()], allow_nan=False, ensure_ascii=False).encode()


def convert(data: bytes, folder: Path) -> None:
    """A file of any format, converted to JSON lines and checked."""
    path = folder / "data"
    path.write_bytes(data)
    try:
        with prepared(path) as file:
            for finding in [*file.notes, *check_file(file.path, minimum_examples=1).findings]:
                _write_finding(finding)
    except FindingError as error:
        _write_finding(error.finding)


def render(data: bytes, folder: Path) -> None:
    """Examples without faults, by one of several chat templates, one by one and together."""
    path = folder / "train.jsonl"
    path.write_bytes(data)
    examples: list[Example] = []
    try:
        for line in read_lines(path):
            examples += checked_examples(line, _chosen(METHODS[:2], data))
    except FindingError:
        return
    renderer = _chosen(_renderers(folder), data)
    for example, rendered in zip(examples, renderer.batch(examples), strict=True):
        try:
            alone: Rendered | str = renderer.example(example)
        except RenderError as error:
            alone, rendered = str(error), str(rendered)
        assert alone == rendered


@cache
def _renderers(folder: Path) -> list[Renderer]:
    templates = (NO_FUNCTIONS, ENDS_CONVERSATIONS, REASONS, SWITCHES)
    return [Renderer(write_base(folder / f"base-{number}", text)) for number, text in enumerate(templates)]


def calls(data: bytes, _: Path) -> None:
    """A generated answer, read by one of the call forms: whole and in pieces it is the same."""
    text, digest = data.decode("utf-8", "replace"), hashlib.sha256(data).digest()
    cuts = sorted(int.from_bytes(digest[start : start + 2], "big") % (len(text) + 1) for start in range(0, 12, 2))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    form, functions, cut_off = _chosen(_forms(), data), (None, TOOLS)[digest[31] % 2], digest[30] % 2 == 1
    whole = _answer(form, [text], functions, cut_off)
    assert whole == _answer(form, pieces, functions, cut_off), form.name


@cache
def _forms() -> list[CallForm]:
    return [form(SpecialTokens((("[TOOL_CALLS]", 256), ("[ARGS]", 257)))) for form in FORMS]


def _answer(form: CallForm, pieces: Sequence[str], functions: Any, cut_off: bool) -> object:
    reader = form.new_reader(functions)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return collect_answer([*events, *reader.finish(cut_off=cut_off)])


def grammar(data: bytes, _: Path) -> None:
    """A chat request with functions or a schema: its grammar, or a refusal."""
    try:
        body = CreateChatCompletionRequest.model_validate(parse_json(data))
    except (BadRequestError, ValidationError):
        return
    form = _chosen(_forms(), data)
    try:
        response_grammar(body, call_policy(body, AdapterMetadata(), strict="taught", form=form))
    except BadRequestError:
        return


def gguf(data: bytes, folder: Path) -> None:
    """What is read of a GGUF file before it is converted."""
    path = folder / "model.gguf"
    path.write_bytes(data)
    try:
        read_header(path)
    except BaseModelError:
        return


def safetensors(data: bytes, folder: Path) -> None:
    """The headers of a model folder."""
    (folder / "model.safetensors").write_bytes(data)
    for read in (count_parameters, is_float32, lambda path: lora_targets(path, "attention")):
        try:
            read(folder)
        except (BaseModelError, JobError):
            continue


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (jsonl, convert, render, calls, grammar, gguf, safetensors)
}
