"""Each family on a tiny random model: trained for some steps, then served, and both say the same."""

from pathlib import Path

import pytest

from data.test_families_table import CHINESE, PAGES
from data.test_families_table import FAMILIES as TEMPLATES
from families import FAMILIES, make_base
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import JobError
from luthier.worker.parity import check
from training.jobs import train, write_job


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_trained_is_what_is_served(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.2)
    folder = write_job(tmp_path / "job", base, valid=2, n_epochs=2, batch_size=5, learning_rate_multiplier=5)
    events = train(folder)
    losses = [event["metrics"]["train_loss"] for event in events if event["type"] == "metrics"]
    assert losses[-1] < losses[0]
    reasons = [event["reason"] for event in events if event["type"] == "separate_rows"]
    assert reasons == ([FAMILIES[name].separate_rows] if FAMILIES[name].separate_rows else [])
    (last,) = [event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
    engine = build_engine(base, EngineOptions(device="cpu", precision="float32"))
    report = check(lambda: engine, folder / "checkpoints" / last, "float32")
    engine.close()
    assert report.mean_difference < 1e-3


def test_the_pages_say_how_each_family_is_trained_and_served() -> None:
    """The last columns of the table in docs/models.md; the tests of tests/families.py are what they stand on."""
    for page, words in zip(PAGES, ({}, CHINESE), strict=True):
        rows = [line for line in page.read_text(encoding="utf-8").splitlines() if "/16 |" in line]
        for family, (*_, architecture) in TEMPLATES.items():
            (row,) = (line for line in rows if line.startswith(f"| {family} |"))
            cells = [words.get(cell, cell) for cell in _trained_and_served(architecture)]
            assert row.endswith(f"| {' | '.join(cells)} |"), family


def _trained_and_served(architecture: str) -> tuple[str, str]:
    if not architecture:
        return "not tested", "not tested"
    family = FAMILIES[architecture]
    engine = "native" if family.fused else "batched" if family.batched else "transformers"
    return "separate rows" if family.separate_rows else "packed", engine


@pytest.fixture
def taken_for_attention_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the config of a recurrent base did not tell."""
    monkeypatch.setattr("luthier.training.model.separate_rows", lambda config: None)


@pytest.mark.parametrize("name", ["lfm2", "qwen3.5"])
@pytest.mark.usefixtures("taken_for_attention_alone")
def test_a_leak_between_packed_examples_is_found_before_training(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.2)
    events = train(write_job(tmp_path / "job", base, n_epochs=1, batch_size=8))
    assert [event["reason"] for event in events if event["type"] == "separate_rows"] == ["mixed_rows"]


@pytest.mark.usefixtures("taken_for_attention_alone")
def test_a_leak_between_packed_examples_fails_the_parity_gate(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.training.model.leaks", lambda model, vocabulary: False)
    base = make_base(tmp_path, tiny_base, FAMILIES["lfm2"], spread=0.5)
    folder = write_job(tmp_path / "job", base, n_epochs=1, batch_size=5)
    (last,) = [event["folder"] for event in train(folder) if event["type"] == "checkpoint"]
    engine = build_engine(base, EngineOptions(device="cpu", precision="float32"))
    with pytest.raises(JobError, match="does not reproduce the trained model"):
        check(lambda: engine, folder / "checkpoints" / last, "float32")
    engine.close()
