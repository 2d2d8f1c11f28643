"""The resume state of a claim: of those before it the newest, and never in place of one after it."""

from pathlib import Path

import torch

from luthier.training.resume_state import Progress, ResumeState


def _state(folder: Path, token: int, value: float = 0.0) -> ResumeState:
    parameter = torch.nn.Parameter(torch.full((2,), value))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    parameter.data.fill_(value)
    return ResumeState(folder, token, {"weight": parameter}, optimizer, Progress(step=int(value)))


def test_a_trainer_that_lives_on_does_not_replace_what_its_successor_saved(tmp_path: Path) -> None:
    _state(tmp_path, 1, 5.0).save()
    second = _state(tmp_path, 2)
    assert second.restore()
    assert second.progress.step == 5
    second.progress.step = 7
    second.save()
    _state(tmp_path, 1, 9.0).save()  # the trainer of the first claim, whose worker was cut off
    third = _state(tmp_path, 3)
    assert third.restore()
    assert third.progress.step == 7
    third.save()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["state-3.safetensors"]


def test_a_state_of_an_earlier_release_is_gone_on_from(tmp_path: Path) -> None:
    _state(tmp_path, 0, 5.0).save()
    (tmp_path / "state" / "state-0.safetensors").rename(tmp_path / "state" / "state.safetensors")
    later = _state(tmp_path, 4)
    assert later.restore()
    assert later.progress.step == 5
