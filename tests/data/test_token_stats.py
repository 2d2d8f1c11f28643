"""Token counts: the trainer's own, complete where it matters, honest where they are a sample."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.base_config import context_tokens
from luthier.data.examples.example import read_examples, to_example
from luthier.data.rendering.renderer import Renderer
from luthier.data.token_stats import Distribution, measure
from luthier.types.errors import RenderError
from templates import NO_FUNCTIONS, write_base


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> Renderer:
    return Renderer(tiny_base)


def chat(question: str, answer: str, **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **keys}]}


def write(folder: Path, *examples: Any) -> Path:
    path = folder / "file.jsonl"
    path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in examples), encoding="utf-8")
    return path


def test_counts_are_those_of_training(tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path, *(chat("什么是债券？" * n, "A loan." * n) for n in range(1, 8)))
    whole = [renderer.example(entry) for entry in read_examples(path)]
    stats = measure(path, renderer, 2048)
    assert (stats.examples, stats.counted, stats.truncated) == (7, 7, 0)
    assert stats.tokens == [len(entry.ids) for entry in whole]
    assert stats.trained == [sum(map(bool, entry.weights)) for entry in whole]
    assert stats.total_tokens == sum(stats.tokens)


def test_a_batch_is_its_examples_and_an_error_spares_the_others(renderer: Renderer) -> None:
    good = [to_example(chat("a", "b" * n), n) for n in range(1, 4)]
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    bad = to_example({"messages": [{"role": "user", "content": picture}]}, 9)
    first, error, *rest = renderer.batch([good[0], bad, *good[1:]])
    assert [first, *rest] == [renderer.example(entry) for entry in good]
    assert isinstance(error, RenderError)


def test_what_the_context_cuts_off(tmp_path: Path, renderer: Renderer) -> None:
    lost = chat("x" * 500, "never seen")
    cut = chat("x", "y" * 500)
    untrained = {"messages": [*chat("x", "y", weight=0)["messages"], *chat("x" * 500, "z", weight=0)["messages"]]}
    stats = measure(write(tmp_path, chat("a", "b"), lost, cut, untrained), renderer, 300)
    assert (stats.truncated, stats.counted) == (2, 3)  # that nothing of a line is trained is an error of its form
    assert [(entry.code, entry.line, entry.severity) for entry in stats.findings] == [
        ("nothing_trainable_in_context", 2, "error"),
        ("truncated", 3, "warning"),
    ]
    assert max(stats.tokens) == 300


def test_the_edge_of_the_context(tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path, chat("a", "b"))
    length = len(renderer.example(next(read_examples(path))).ids)
    assert measure(path, renderer, length).truncated == 0
    assert measure(path, renderer, length - 1).truncated == 1


def test_a_sample_is_told_repeats_and_misses_no_long_example(tmp_path: Path, renderer: Renderer) -> None:
    examples = [chat("a", "b" * (n % 7 + 1)) for n in range(600)]
    examples[250] = chat("x" * 400, "never seen")
    path = write(tmp_path, *examples)
    stats = measure(path, renderer, 300, sample_bytes=path.stat().st_size // 4)
    assert stats == measure(path, renderer, 300, sample_bytes=path.stat().st_size // 4)
    assert 100 < stats.counted < 200
    assert [entry.line for entry in stats.findings] == [251]
    assert stats.total_tokens == pytest.approx(sum(measure(path, renderer, 300).tokens), rel=0.1)


def test_spread() -> None:
    spread = Distribution.of(list(range(1, 101)))
    assert (spread.total, spread.min, spread.max, spread.mean) == (5050, 1, 100, 50.5)
    assert (spread.p5, spread.p95) == (pytest.approx(5.95), pytest.approx(95.05))
    assert spread.bars == [10] * 10
    assert Distribution.of([3]).bars == [1, *[0] * 9]


def test_context_of_a_base(tiny_base: Path, tmp_path: Path) -> None:
    assert context_tokens(tiny_base) == 2048
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1000000}')
    assert context_tokens(tmp_path) == 65_536


def test_a_line_with_an_error_is_left_out_and_a_file_of_its_kind_too(tmp_path: Path, renderer: Renderer) -> None:
    faulty = {"messages": [{"content": "q"}, {"role": "assistant", "content": 5}]}
    mixed = measure(write(tmp_path, chat("a", "b"), faulty, chat("c", "d"), 7), renderer, 2048)
    assert (mixed.examples, mixed.sampled, mixed.counted) == (4, 4, 2)
    assert mixed.total_tokens == sum(mixed.tokens)
    empty = measure(write(tmp_path, faulty, 7), renderer, 2048)
    assert (empty.counted, empty.total_tokens, empty.total_openai_tokens) == (0, 0, None)


def test_a_sample_of_one_long_line_is_not_empty(tmp_path: Path, renderer: Renderer) -> None:
    assert measure(write(tmp_path, chat("a", "b" * 300)), renderer, 100, sample_bytes=1).counted == 1


def test_what_the_base_refuses_is_a_finding_with_its_line(tmp_path: Path) -> None:
    renderer = Renderer(write_base(tmp_path / "base", NO_FUNCTIONS))
    twice = chat("a", "b")
    twice["messages"].append({"role": "assistant", "content": "c"})
    statistics = measure(write(tmp_path, chat("a", "b"), twice), renderer, 300)
    assert [(each.code, each.line, each.severity) for each in statistics.findings] == [
        ("base_refuses_example", 2, "error")
    ]
    assert "roles must alternate" in statistics.findings[0].detail
