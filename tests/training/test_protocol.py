"""Events between trainer and worker: they survive the wire, and those of earlier releases can be replayed."""

import json
import math
from typing import get_args

import pytest

from luthier.training import protocol

EVENTS = [
    protocol.Started(),
    protocol.Resolved(
        hyperparameters={"n_epochs": 3, "learning_rate_multiplier": 1.0},
        auto=["n_epochs"],
        learning_rate=1e-3,
        total_steps=6,
        examples=10,
        tokens=467,
        truncated=0,
    ),
    protocol.ToolDropout(full=0.4, slim=0.2, none=0.4, added_examples=1),
    protocol.PromptCompletions(),
    protocol.ResultTurns(examples=18),
    protocol.Hardware(name="CPU", dtype="bfloat16", threads=2),
    protocol.TrainableParameters(count=16_384, rank=16, alpha=32, layers=["q_proj"]),
    protocol.ShardedBase(processes=2, local=60_000, weights=100_000),
    protocol.SeparateRows(reason="recurrent"),
    protocol.OwnTemplate(functions=True),
    protocol.CompilerMissing(),
    protocol.GradientCheckpointing(longest_tokens=900),
    protocol.Resumed(step=3),
    protocol.ResumeStateUnreadable(error="header too small"),
    protocol.EarlyStopped(step=9, total_steps=24, patience=2, best_step=3),
    protocol.BestEpoch(step=30, full_valid_loss=2.38, last_full_valid_loss=2.40),
    protocol.Metrics(step=1, total_steps=6, metrics={"train_loss": 0.5}),
    protocol.Checkpoint(step=6, folder="best", metrics={"step": 3, "train_loss": 1.0}),
    protocol.Finished(trained_tokens=1401),
    protocol.WaitingForNode(cpus=4, gpus=0, memory_bytes=2 * 1024**3),
    protocol.NodeFound(name="node-1"),
    protocol.NodeLost(reason="ActorDiedError"),
    protocol.DiskFault(kind="full", message="[Errno 28] No space left on device"),
    protocol.Failed(code="training_diverged", message="Step 5", param="hyperparameters"),
]


def test_every_event_survives_the_wire() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(protocol.Event))
    for event in EVENTS:
        fields = json.loads(event.to_json())
        parsed = protocol.parse_event(fields)
        assert parsed == event
        assert parsed.to_json() == event.to_json()  # whole numbers stay whole
        assert next(iter(fields)) == "type"


def test_events_carry_no_sentences() -> None:
    """Names and codes only; an error's own message is the one exception."""
    for event in EVENTS:
        for name, value in event.model_dump().items():
            texts = value if isinstance(value, list) else [value]
            assert name in ("message", "error") or not any(" " in text for text in texts if isinstance(text, str))


def test_losses_that_are_not_finite_survive() -> None:
    event = protocol.Metrics(step=1, total_steps=2, metrics={"valid_loss": math.nan, "train_loss": math.inf})
    metrics = protocol.parse_event(json.loads(event.to_json())).metrics
    assert math.isnan(metrics["valid_loss"])
    assert metrics["train_loss"] == math.inf


def test_events_of_version_1_are_replayed() -> None:
    """As release 0.1 wrote them: sentences in `resolved` and `note`; steps and checkpoints as today."""
    resolved = {"type": "resolved", "hyperparameters": {}, "message": "Peak learning rate 1.26e-02"}
    note = {"type": "note", "message": "Training on CPU, float32, 1 threads"}
    assert protocol.replayable(resolved) is None
    assert protocol.replayable(note) is None
    metrics = {"type": "metrics", "step": 3, "total_steps": 180, "metrics": {"train_loss": 5.5}}
    assert protocol.replayable(metrics) == protocol.Metrics(step=3, total_steps=180, metrics={"train_loss": 5.5})
    checkpoint = {"type": "checkpoint", "step": 3, "folder": "step-3", "metrics": {"train_loss": 5.5}}
    assert protocol.replayable(checkpoint) == protocol.Checkpoint(step=3, folder="step-3", metrics={"train_loss": 5.5})
    with pytest.raises(ValueError, match="note"):
        protocol.parse_event(note)


def test_commands() -> None:
    assert protocol.parse_command(protocol.Stop().to_json().encode() + b"\n") == protocol.Stop()
    for line in (b"\n", b"stop\n", b'{"type": "pause"}\n'):
        assert protocol.parse_command(line) is None
