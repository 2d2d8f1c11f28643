"""The sentences of a training run, word for word: `docs/reference/events.md` and clients rely on them."""

import base64
from dataclasses import replace

import pytest

from luthier.store import Event
from luthier.training import protocol
from luthier.worker import job_messages


def _resolved(**fields) -> protocol.Resolved:
    values = {"hyperparameters": {}, "auto": [], "learning_rate": 1.264e-3, "total_steps": 6, "examples": 100}
    return protocol.Resolved(**{**values, "tokens": 467, "truncated": 0, **fields})


HYPERPARAMETERS = {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0, "beta": 0.1}
NOTICES = [
    (_resolved(), "Peak learning rate 1.26e-03"),
    (
        _resolved(hyperparameters=HYPERPARAMETERS, auto=list(HYPERPARAMETERS)),
        "Peak learning rate 1.26e-03; chosen for auto: n_epochs=3 (OpenAI's rule for 100 examples), "
        "batch_size=2 (it grows with the square root of the examples), learning_rate_multiplier=1, "
        "beta=0.1 (the DPO paper's)",
    ),
    (
        protocol.ToolDropout(full=0.4, slim=0.2, none=0.4, added_examples=1),
        "Function definitions are shown in full, slim and not at all, in 40 %, 20 %, 40 % of the epochs; "
        "1 examples without a call were added, since the file has none",
    ),
    (
        protocol.ToolDropout(full=0, slim=1, none=0, added_examples=0),
        "Function definitions are shown in full, slim and not at all, in 0 %, 100 %, 0 % of the epochs",
    ),
    (
        protocol.PromptCompletions(),
        "Prompts and completions are trained inside the base model's chat template, as a user's message and its answer",
    ),
    (
        protocol.ResultTurns(examples=18),
        "18 examples that end with a call were extended by a result and an answer, since the file has no answers after "
        "results",
    ),
    (protocol.Hardware(name="CPU", dtype="bfloat16", threads=2), "Training on CPU, bfloat16, 2 threads"),
    (
        protocol.TrainableParameters(count=16_384, rank=16, alpha=32, layers=["k_proj", "q_proj"]),
        "16,384 parameters are trained: LoRA of rank 16, alpha 32, on k_proj, q_proj",
    ),
    (protocol.TrainableParameters(count=26_848), "All 26,848 parameters are trained"),
    *(
        (
            protocol.SeparateRows(reason=reason),
            f"Examples are not packed, which is slower: the base model has {feature}",
        )
        for reason, feature in (
            ("recurrent", "recurrent or convolution layers"),
            ("own_attention", "its own attention code"),
            ("sinks", "attention sinks"),
            ("mixed_rows", "layers that mix the examples of a row"),
        )
    ),
    (
        protocol.ShardedBase(processes=4, local=61_000_000, weights=134_515_008),
        "The base model's layers are sharded over 4 processes (FSDP2) and train through transformers' own code: each "
        "process holds at most 61,000,000 of 134,515,008 parameters",
    ),
    (
        protocol.OwnTemplate(functions=True),
        "The base model's chat template loses definitions, calls or results of functions: Luthier's own form replaces "
        "it in training and serving",
    ),
    (
        protocol.OwnTemplate(functions=False),
        "The base model's chat template loses messages: Luthier's own form replaces it in training and serving",
    ),
    (
        protocol.CompilerMissing(),
        "No working C++ compiler with OpenMP was found (g++ or clang++): training takes up to twice as long as "
        "with one",
    ),
    (
        protocol.GradientCheckpointing(longest_tokens=900),
        "Memory is short for examples of 900 tokens: gradient checkpointing is enabled",
    ),
    (protocol.Resumed(step=3), "Training resumes after step 3"),
    (
        protocol.WaitingForNode(cpus=2, gpus=0, memory_bytes=3 * 1024**3 // 2),
        "Waiting for a node of the Ray cluster with room for the trainer (CPUs: 2, GPUs: 0, memory: 1.5 GB)",
    ),
    (protocol.NodeFound(name="gpu-7"), "The trainer starts on the Ray node gpu-7"),
    (
        protocol.ResumeStateUnreadable(error="header too small"),
        "The saved state cannot be read (header too small); training starts over",
    ),
    (
        protocol.EarlyStopped(step=9, total_steps=24, patience=2, best_step=3),
        "Early stopping after step 9 of 24: no lower loss than at step 3 in 2 consecutive validations",
    ),
    (
        protocol.EarlyStopped(step=9, total_steps=24, patience=1, best_step=6),
        "Early stopping after step 9 of 24: no lower loss than at step 6 in 1 consecutive validation",
    ),
    (
        protocol.BestEpoch(step=30, full_valid_loss=2.38631, last_full_valid_loss=2.4088),
        "The fine-tuned model is taken from step 30, which had the lowest full validation loss: 2.3863, against 2.4088 "
        "after the last step",
    ),
]


@pytest.mark.parametrize(("event", "message"), NOTICES, ids=lambda value: getattr(value, "type", ""))
def test_notices(event: protocol.Event, message: str) -> None:
    assert [replace(notice, key=None) for notice in job_messages.trainer_notice(event)] == [Event(message)]


def test_truncated_examples_are_a_warning() -> None:
    _, warning = job_messages.trainer_notice(_resolved(truncated=2))
    warning = replace(warning, key=None)
    text = "2 examples are longer than the base model's context and were truncated"
    assert warning == Event(text, level="warn")


def test_metrics() -> None:
    metrics = {"train_loss": 0.731, "valid_loss": 1.46, "full_valid_loss": 1.12}
    event = job_messages.metrics_event(protocol.Metrics(step=60, total_steps=200, metrics=metrics))
    assert event.message == "Step 60/200: training loss=0.73, validation loss=1.46, full validation loss=1.12"
    assert event.data == {"step": 60, "total_steps": 200, **metrics}
    assert (event.type, event.step) == ("metrics", 60)


@pytest.mark.parametrize(
    ("model", "is_plain"),
    [
        ("babbage-002", True),
        ("ft:davinci-002:personal::AbCd1234", True),
        ("gpt-4o-mini-2024-07-18", False),
        ("ft:gpt-4o-mini-2024-07-18:personal:babbage-002:AbCd1234", False),
    ],
)
def test_the_result_file_is_plain_for_models_that_complete_text(model: str, is_plain: bool) -> None:
    content = job_messages.result_file([{"step": 1, "train_loss": 0.5, "train_mean_token_accuracy": 0.25}], model)
    plain = content if is_plain else base64.b64decode(content)
    assert plain.decode().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "1,0.5,0.25,,",
    ]
