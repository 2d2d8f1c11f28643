"""A base whose own template has no place for what the answers of a file have is trained in Luthier's form."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.examples.example import read_examples
from luthier.data.file_renderer import renderer_of_files
from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.renderer import Renderer
from luthier.data.token_stats import measure
from templates import trained_text, write_base

# In the manner of Llama 3.1: an answer has one call.
ONE_CALL = """{%- for message in messages -%}{{- '<start>' + message.role + '\\n' -}}
{%- if tools and loop.first -%}{{- (tools | tojson) + '\\n' -}}{%- endif -%}
{{- message.content -}}{%- if message.tool_calls -%}
{%- if message.tool_calls | length > 1 -%}{{- raise_exception('one call at a time') -}}{%- endif -%}
{%- set call = message.tool_calls[0].function -%}
{{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' + (call.arguments | tojson) + '}\\n</tool_call>' -}}
{%- endif -%}
{{- '<end>\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<start>assistant\\n' -}}{%- endif -%}"""
TOOLS = [{"type": "function", "function": {"name": "get_price", "parameters": {"type": "object", "properties": {}}}}]
USER = {"role": "user", "content": "How much are A and B?"}


def _answer(codes: str) -> dict[str, Any]:
    functions = [{"name": "get_price", "arguments": json.dumps({"code": code})} for code in codes]
    calls = [{"id": f"c{number}", "type": "function", "function": each} for number, each in enumerate(functions)]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base", ONE_CALL)


def _file(folder: Path, *answers: dict[str, Any], name: str = "train.jsonl") -> Path:
    lines = [json.dumps({"messages": [USER, answer], "tools": TOOLS}) for answer in answers]
    (folder / name).write_text("\n".join([*lines, "{"]), encoding="utf-8")  # the last line is broken
    return folder / name


def test_the_own_template_is_used_while_nothing_is_lost(base: Path, tmp_path: Path) -> None:
    renderer = renderer_of_files(base, [_file(tmp_path, _answer("A"), {"role": "assistant", "content": "Which?"})])
    assert (renderer.choice.lost, renderer.template.text) == ((), ONE_CALL)


def test_luthiers_form_takes_what_the_own_template_refuses(base: Path, tmp_path: Path) -> None:
    files = [_file(tmp_path, _answer("A")), _file(tmp_path, _answer("AB"), name="valid.jsonl")]
    assert [finding.code for finding in measure(files[1], Renderer(base), 1000).findings] == ["base_refuses_example"]
    renderer = renderer_of_files(base, files)
    assert renderer.choice.lost == ("parallel calls",)
    assert measure(files[1], renderer, 1000).findings == []
    example = next(read_examples(files[1]))
    read = parse_answer(trained_text(renderer, example), renderer.call_form, TOOLS)
    assert [json.loads(call.arguments)["code"] for call in read.calls] == ["A", "B"]
    (tmp_path / "stored.jinja").write_text(renderer.template.text, encoding="utf-8")
    stored = Renderer(base, tmp_path / "stored.jinja")
    assert stored.example(example) == renderer.example(example)
    assert stored.choice.parallel
