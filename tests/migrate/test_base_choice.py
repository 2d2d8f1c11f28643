"""The base that is proposed for a successor: script, context, memory, time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.catalogue.training_speed import Speed, weight_bytes
from luthier.migrate.base_choice import BaseFit, assess, proposed
from luthier.migrate.retraining import RetrainPlan
from migrate.accounts import jsonl

GIB = 2**30
FITS = BaseFit("small", GIB, 100_000, 0, 0.01, Speed(100, 2 * GIB, GIB), measured=True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"speed": None, "measured": False}, None),
        ({"split_share": 0.4}, "script: 40 %"),
        ({"left_out": 3}, "completely: 3"),
        ({"speed": Speed(100, 9 * GIB, GIB)}, "memory"),
        ({"trained_tokens": 10_000_000}, "a night"),
    ],
)
def test_what_keeps_a_base_from_being_proposed(changes: dict[str, Any], reason: str | None) -> None:
    fit = replace(FITS, **changes)
    reasons = fit.objections(10 * GIB, "en")
    assert len(reasons) == (reason is not None)
    assert (reason or "") in "".join(reasons)
    assert len(fit.objections(10 * GIB, "zh")) == len(reasons)
    assert (proposed([fit], 10 * GIB) is None) == (reason is not None)


def test_the_largest_that_fits_is_proposed() -> None:
    larger = replace(FITS, name="larger", weight_bytes=2 * GIB)
    largest = replace(FITS, name="largest", weight_bytes=4 * GIB, split_share=0.9)
    assert proposed([FITS, larger, largest], 10 * GIB) == larger


def test_a_larger_base_is_slower_and_takes_more() -> None:
    assert Speed(100, 2 * GIB, GIB).scaled(3 * GIB) == Speed(pytest.approx(100 / 3), 6 * GIB, 3 * GIB)


@pytest.mark.parametrize(("text", "share"), [("Where is my parcel?", 0), ("我的包裹在哪里？", 1)])
def test_a_file_is_read_as_the_base_would(tiny_base: Path, tmp_path: Path, text: str, share: float) -> None:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    training = tmp_path / "train.jsonl"
    training.write_text(jsonl([{"messages": turns}] * 12), encoding="utf-8")
    file_plan = RetrainPlan("m", "b", training=training)
    fit = assess("tiny", tiny_base, file_plan, {"other": Speed(50, GIB, 2 * weight_bytes(tiny_base))})
    assert fit.split_share == share
    assert (fit.left_out, fit.measured) == (0, False)
    assert fit.speed is not None
    assert fit.speed.tokens_per_s == 100
    distilled = RetrainPlan("m", "b", source="answers", distilled=tuple([{"messages": turns}] * 12))
    assert assess("tiny", tiny_base, distilled, {}) == replace(fit, speed=None)
    longer = RetrainPlan("m", "b", training=training, hyperparameters={"n_epochs": 50})
    assert assess("tiny", tiny_base, longer, {}).trained_tokens > 2 * fit.trained_tokens


def test_examples_that_a_base_cannot_take(tiny_base: Path, tmp_path: Path) -> None:
    training = tmp_path / "train.jsonl"
    lines = [{"messages": [{"role": "user", "content": "a" * size}, {"role": "assistant", "content": "b"}]}
             for size in (10, 20, 3000)]  # fmt: skip
    training.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert assess("tiny", tiny_base, RetrainPlan("m", "b", training=training), {}).left_out == 1
