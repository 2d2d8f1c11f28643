"""`python -m luthier.training JOBDIR` by hand leaves model folders that serving needs nothing else for."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.data.examples import adapter_metadata
from luthier.data.rendering import parity_samples
from luthier.data.rendering.renderer import Renderer
from luthier.inference import EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from templates import NO_FUNCTIONS
from training.jobs import losses, train, write_job
from training.test_trainer import CALLING, TOOL


def _last_checkpoint(folder: Path, events: list[dict[str, Any]]) -> Path:
    return folder / "checkpoints" / [event["folder"] for event in events if event["type"] == "checkpoint"][-1]


def _train(folder: Path) -> Path:
    return _last_checkpoint(folder, train(folder))


def _train_by_hand(folder: Path) -> Path:
    command = [sys.executable, "-m", "luthier.training", str(folder)]
    done = subprocess.run(command, capture_output=True, check=True)
    return _last_checkpoint(folder, [json.loads(line) for line in done.stdout.splitlines()])


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_model_folder_is_complete_and_served(tmp_path: Path, tiny_base: Path, tuning: str) -> None:
    folder = write_job(tmp_path / "job", tiny_base, examples=CALLING, n_epochs=1, tuning=tuning)
    model = _train_by_hand(folder)
    metadata = adapter_metadata.read(model)
    assert (metadata.call_form, metadata.pairs, metadata.definitions) == ("tools", False, [TOOL])
    assert len(parity_samples.read(model)) == 4
    shutil.move(model, tmp_path / "model")  # nothing in the job folder is needed any more
    shutil.rmtree(folder)
    model, full = tmp_path / "model", tuning == "full"
    renderer = Renderer(model if full else tiny_base, model / "chat_template.jinja")
    prompt = renderer.prompt([{"role": "user", "content": "do 3"}], tools=metadata.definitions)
    engine = build_engine(model if full else tiny_base, EngineOptions(device="cpu", precision="float32"))
    generation = EngineRequest(
        prompt, SamplingParams(max_tokens=4, stop_ids=frozenset(), temperature=0), None if full else model
    )
    tokens = list(engine.submit(generation))
    engine.close()
    assert 1 <= len(tokens) <= 4


def test_metadata_is_inherited(tmp_path: Path, tiny_base: Path) -> None:
    """Data without a call says nothing of tools: the parent's are still known; so are a fully fine-tuned base's."""
    adapter = _train(write_job(tmp_path / "first", tiny_base, examples=CALLING, n_epochs=1))
    again = _train(write_job(tmp_path / "second", tiny_base, n_epochs=1, parent=str(adapter)))
    assert adapter_metadata.read(again).definitions == [TOOL]
    full = _train(write_job(tmp_path / "third", tiny_base, examples=CALLING, n_epochs=1, tuning="full"))
    on_full = _train(write_job(tmp_path / "fourth", full, n_epochs=1))
    assert adapter_metadata.read(on_full).definitions == [TOOL]


def test_folders_of_an_earlier_release_are_completed(tmp_path: Path, tiny_base: Path) -> None:
    """Its worker, not its trainer, wrote the metadata: a job that it began may keep its best epoch so far."""
    uninterrupted = train(write_job(tmp_path / "whole", tiny_base, examples=CALLING, valid=3, n_epochs=3))
    folder = write_job(tmp_path / "job", tiny_base, examples=CALLING, valid=3, n_epochs=3)
    first = train(folder, stop_after=4)
    for name in ("best", "step-3"):
        (folder / "checkpoints" / name / adapter_metadata.FILE).unlink()
    second = train(folder)
    assert losses(first) + losses(second) == losses(uninterrupted)
    for name in ("best", "step-3"):
        assert adapter_metadata.read(folder / "checkpoints" / name).definitions == [TOOL]


def test_a_base_without_functions_is_trained_in_the_form_of_luthier_and_says_so(
    tmp_path: Path, tiny_base: Path
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    marks = {"<start>": "<|im_start|>", "<end>": "<|im_end|>"}
    template = NO_FUNCTIONS
    for mark, token in marks.items():
        template = template.replace(mark, token)
    (base / "chat_template.jinja").write_text(template)
    events = train(write_job(tmp_path / "job", base, examples=CALLING, n_epochs=1))
    assert {"type": "own_template", "functions": True} in events
    stored = _last_checkpoint(tmp_path / "job", events) / "chat_template.jinja"
    prompt = Renderer(base, stored).prompt([{"role": "user", "content": "do 3"}], [TOOL])
    assert prompt == Renderer(base).prompt([{"role": "user", "content": "do 3"}], [TOOL])
    assert '"name": "' in Renderer(base, stored).decode(prompt)
