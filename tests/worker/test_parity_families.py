"""Each family on a tiny random model: trained for some steps, then served, and both say the same."""

from pathlib import Path

import pytest

from families import FAMILIES, make_base
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import LuthierError
from luthier.worker.parity import check
from training.jobs import EXAMPLES, train, write_job


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.training_error])
def test_what_was_trained_is_what_is_served(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.2)
    folder = write_job(tmp_path / "job", base, valid=2, n_epochs=2, batch_size=5, learning_rate_multiplier=5)
    events = train(folder)
    losses = [event["metrics"]["train_loss"] for event in events if event["type"] == "metrics"]
    assert losses[-1] < losses[0]
    (last,) = [event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
    engine = build_engine(base, EngineOptions(device="cpu", precision="float32"))
    report = check(lambda: engine, folder / "checkpoints" / last, "float32")
    engine.close()
    assert report.mean_difference < 1e-3


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.training_error])
def test_what_training_does_not_know_is_refused_by_name(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.2)
    with pytest.raises(LuthierError, match=FAMILIES[name].training_error):
        train(write_job(tmp_path / "job", base, EXAMPLES))
