"""Whole jobs on the tiny base: what is trained, what is kept, and that a job goes on as if nothing had happened."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from luthier.data.check.file_check import check_file
from luthier.data.examples.example import Example, read_examples
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.tool_dropout import ToolDropout
from luthier.data.token_stats import measure
from luthier.training import batching, dataset
from luthier.training.batching import TrainingExample
from luthier.training.lr_schedule import learning_rate_factor
from luthier.training.trainer import Trainer
from luthier.types.errors import JobError
from training.jobs import EXAMPLES, losses, train, write_job
from training.test_preference import PAIRS


class PowerCutError(Exception):
    pass


def test_a_job_learns_and_leaves_its_story(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base, valid=2, n_epochs=6, learning_rate_multiplier=2)
    events = train(folder)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "resolved"
    assert kinds[-1] == "finished"
    steps = [event for event in events if event["type"] == "metrics"]
    assert [event["step"] for event in steps] == list(range(1, 19))  # 10 examples in batches of 4, 6 epochs
    assert losses(events)[-1] < losses(events)[0] / 2
    assert {event["step"] for event in steps if "valid_loss" in event["metrics"]} == {10}
    assert {event["step"] for event in steps if "full_valid_loss" in event["metrics"]} == {3, 6, 9, 12, 15, 18}
    assert [event["step"] for event in events if event["type"] == "checkpoint"] == [3, 6, 9, 12, 15, 18]
    renderer = Renderer(tiny_base)
    tokens = sum(len(renderer.example(example).ids) for example in read_examples(folder / "train.jsonl"))
    assert events[-1]["trained_tokens"] == 6 * tokens
    assert sum(event["tokens"] for event in events if event["type"] == "metrics") == 6 * tokens


def test_the_whole_validation_file_is_measured_where_a_job_asks_for_it(tmp_path: Path, tiny_base: Path) -> None:
    """Besides the ends of epochs; the steps themselves are those of a job that did not ask."""
    overrides = {"valid": 2, "n_epochs": 2}
    plain = train(write_job(tmp_path / "plain", tiny_base, **overrides))
    validated = train(write_job(tmp_path / "validated", tiny_base, **overrides, validate_at=[0.25, 0.5]))
    assert losses(validated) == losses(plain)
    measured = {event["step"] for event in validated if "full_valid_loss" in event.get("metrics", {})}
    assert measured == {2, 3, 6}  # of six steps


def test_only_the_adapter_changes_and_all_of_it(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base, n_epochs=2)
    states = {}

    def look(trainer) -> None:
        state = {
            name: tensor.clone() for name, tensor in trainer._optimizer_step._forward.model.module.state_dict().items()
        }
        states.setdefault("first", state)
        states["last"] = state

    train(folder, at_step=look)
    changed = {name for name, tensor in states["first"].items() if not torch.equal(tensor, states["last"][name])}
    assert changed == {name for name in states["first"] if "lora_" in name}
    layers = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert len(changed) == 2 * len(layers) * 2  # two layers deep; A and B of each linear layer


@pytest.mark.parametrize("stop_after", [1, 4, 6, 7, 8])
def test_a_resumed_job_is_an_uninterrupted_one(tmp_path: Path, tiny_base: Path, stop_after: int) -> None:
    """To the last digit: losses of every step, and every number of the adapter."""
    whole = train(write_job(tmp_path / "whole", tiny_base, valid=2, n_epochs=3))
    folder = write_job(tmp_path / "cut", tiny_base, valid=2, n_epochs=3)
    first = train(folder, stop_after=stop_after)
    assert first[-1] == {"type": "stopped"}
    second = train(folder)
    strip = [event for event in whole if event["type"] in ("metrics", "checkpoint", "finished")]
    both = [event for event in first + second if event["type"] in ("metrics", "checkpoint", "finished")]
    assert both == strip
    adapters = [
        load_file(tmp_path / name / "checkpoints" / "step-9" / "adapter_model.safetensors") for name in ("whole", "cut")
    ]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_a_seed_reproduces_and_another_differs(tmp_path: Path, tiny_base: Path) -> None:
    first, again, other = (
        losses(train(write_job(tmp_path / name, tiny_base, seed=seed))) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert first == again
    assert first != other


def test_batches_of_any_cut_give_the_same_steps(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = losses(train(write_job(tmp_path / "whole", tiny_base, batch_size=6)))
    monkeypatch.setattr("luthier.training.token_budget.tokens_in_memory", lambda *_: 1)
    assert losses(train(write_job(tmp_path / "cut", tiny_base, batch_size=6))) == pytest.approx(whole, rel=1e-4)


def test_the_adapter_is_a_peft_folder(tmp_path: Path, tiny_base: Path) -> None:
    """PEFT itself loads it, and plain transformers then measures the loss that the trainer measured."""
    folder = write_job(tmp_path / "job", tiny_base, valid=2, learning_rate_multiplier=3)
    checkpoint = [event for event in train(folder) if event["type"] == "checkpoint"][-1]
    last = folder / "checkpoints" / checkpoint["folder"]
    names = {path.name for path in last.iterdir()}
    assert names == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "chat_template.jinja",
        "proof.json",
        "taught.json",
    }
    config = json.loads((last / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["peft_type"]) == ("tiny", "LORA")
    assert (config["r"], config["lora_alpha"]) == (16, 32)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, str(last)).eval()
    loss, count = 0.0, 0
    for example in read_examples(folder / "valid.jsonl"):
        rendered = Renderer(tiny_base, last / "chat_template.jinja").example(example)
        labels = [token if weight else -100 for token, weight in zip(rendered.ids, rendered.weights, strict=True)]
        targets = sum(label >= 0 for label in labels[1:])
        with torch.no_grad():
            loss += tuned(torch.tensor([rendered.ids]), labels=torch.tensor([labels])).loss.item() * targets
        count += targets
    assert loss / count == pytest.approx(checkpoint["metrics"]["full_valid_loss"], rel=1e-4)


def test_merged_is_applied(tmp_path: Path, tiny_base: Path) -> None:
    """The adapter's weights added to the base's answer as base and adapter side by side."""
    folder = write_job(tmp_path / "job", tiny_base, learning_rate_multiplier=3)
    train(folder)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        before = base(ids).logits
        tuned = PeftModel.from_pretrained(base, str(folder / "checkpoints" / "step-6")).eval()
        applied = tuned(ids).logits
        merged = tuned.merge_and_unload()(ids).logits
    assert torch.allclose(merged, applied, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, applied, atol=1e-2)


def test_training_goes_on_from_a_fine_tuned_model(tmp_path: Path, tiny_base: Path) -> None:
    first = train(write_job(tmp_path / "first", tiny_base, n_epochs=6))
    parent = tmp_path / "first" / "checkpoints" / "step-18"
    second = train(write_job(tmp_path / "second", tiny_base, parent=str(parent)))
    assert losses(second)[0] < losses(first)[0] / 2


def test_weight_zero_is_not_learnt(tiny_base: Path) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "never learn this", "weight": 0},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "ok"},
    ]
    rendered = Renderer(tiny_base).example(Example(turns, line=1))
    learnt = [token for token, weight in zip(rendered.ids, rendered.weights, strict=True) if weight]
    assert Renderer(tiny_base).decode(learnt) == "ok<|im_end|>"


def test_examples_lose_their_end_and_are_refused_when_nothing_is_left(tmp_path: Path, tiny_base: Path) -> None:
    """The tiny base reads 2,048 tokens, a token a byte."""
    long_answer = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a" * 3000}]}
    events = train(write_job(tmp_path / "long", tiny_base, [*EXAMPLES, long_answer], n_epochs=1))
    assert events[0]["truncated"] == 1
    long_question = {"messages": [{"role": "user", "content": "q" * 3000}, {"role": "assistant", "content": "a"}]}
    with pytest.raises(JobError, match="Line 13 has nothing to train") as caught:
        train(write_job(tmp_path / "none", tiny_base, [*EXAMPLES, long_question]))
    assert caught.value.code == "invalid_training_file"


def test_a_job_that_diverges_stops(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base, n_epochs=50, learning_rate_multiplier=1e30)
    with pytest.raises(JobError, match="smaller learning_rate_multiplier") as caught:
        train(folder)
    assert caught.value.code == "training_diverged"


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("what", ["nan weight", "infinite gradient"])
def test_a_job_that_breaks_keeps_its_last_good_checkpoint(
    tmp_path: Path, tiny_base: Path, what: str, tuning: str
) -> None:
    """Broken in the second epoch: the first one's checkpoint and state are finite, and nothing came after them."""
    folder = write_job(tmp_path / "job", tiny_base, n_epochs=3, tuning=tuning)

    def spoil(trainer: Trainer) -> None:
        if trainer._progress.step == 4:
            parameter = next(iter(trainer._optimizer_step._parameters.values()))
            if what == "nan weight":
                parameter.data.fill_(float("nan"))
            else:
                parameter.register_hook(lambda gradient: gradient / 0)

    with pytest.raises(JobError, match="Step 5 gave") as caught:
        train(folder, at_step=spoil)
    assert caught.value.code == "training_diverged"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-3"]
    (weights,) = (folder / "checkpoints" / "step-3").glob("*.safetensors")
    for file in (weights, folder / "state" / "state-0.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())


HOW = {"lora": {}, "full": {"tuning": "full"}, "dpo": {"method": "dpo", "examples": PAIRS}}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_job_cut_off_goes_on_from_its_last_saved_state(tmp_path: Path, tiny_base: Path, how: dict) -> None:
    """As when the machine loses power in the second epoch: that epoch's steps are taken again, and are the same."""
    whole = train(write_job(tmp_path / "whole", tiny_base, **how, n_epochs=3))
    folder = write_job(tmp_path / "cut", tiny_base, **how, n_epochs=3)

    def cut(trainer: Trainer) -> None:
        if trainer._progress.step == 5:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train(folder, at_step=cut)
    (folder / "state" / "state.new").write_bytes(b"half a state")  # what a save under way leaves
    again = train(folder)
    assert {"type": "resumed", "step": 3} in again
    assert losses(again) == losses(whole)[3:]


def _overfitting_job(folder: Path, base: Path, **options: Any) -> Path:
    """Validation answers that contradict training: the more is learnt, the worse it gets."""
    valid = [
        {"messages": [*example["messages"][:2], {"role": "assistant", "content": "zzz"}]} for example in EXAMPLES[:3]
    ]
    return write_job(
        folder, base, [*EXAMPLES, *valid], valid=3, **{"n_epochs": 8, "learning_rate_multiplier": 3, **options}
    )


@pytest.mark.parametrize("options", [{}, {"validate_at": [0.3, 0.45]}])  # with them, inside of epochs
def test_early_stopping_keeps_the_best_weights_and_resumes_with_its_state(
    tmp_path: Path, tiny_base: Path, options: dict[str, Any]
) -> None:
    options = options | {"learning_rate_multiplier": 6}
    whole = train(_overfitting_job(tmp_path / "whole", tiny_base, **options))
    folder = _overfitting_job(tmp_path / "job", tiny_base, early_stopping=2, **options)
    events = train(folder)
    measured = [
        (event["step"], event["metrics"]["full_valid_loss"])
        for event in events
        if event["type"] == "metrics" and "full_valid_loss" in event["metrics"]
    ]
    best, lowest = min(measured, key=lambda step_and_loss: step_and_loss[1])
    (stopped,) = [event for event in events if event["type"] == "early_stopped"]
    assert [step for step, _ in measured[-3:]] == [best, measured[-2][0], stopped["step"]]
    assert (stopped["best_step"], stopped["patience"], stopped["total_steps"]) == (best, 2, 24)
    steps = [event for event in events if event["type"] == "metrics"]
    assert steps == [event for event in whole if event["type"] == "metrics"][: stopped["step"]]
    final = [event for event in events if event["type"] == "checkpoint"][-1]
    assert (final["step"], final["folder"], final["final"]) == (stopped["step"], "best", True)
    assert (final["metrics"]["step"], final["metrics"]["full_valid_loss"]) == (best, lowest)
    of_whole = next(event["trained_tokens"] for event in whole if event["type"] == "finished")
    assert events[-1]["trained_tokens"] == pytest.approx(of_whole * stopped["step"] / 24, rel=0.1)  # batches vary

    cut = _overfitting_job(tmp_path / "cut", tiny_base, early_stopping=2, **options)
    first = train(cut, stop_after=measured[-2][0])
    kinds = ("metrics", "checkpoint", "early_stopped", "best_epoch", "finished")
    assert [event for event in first + train(cut) if event["type"] in kinds] == [
        event for event in events if event["type"] in kinds
    ]
    name = "checkpoints/best/adapter_model.safetensors"
    assert (cut / name).read_bytes() == (folder / name).read_bytes()
    assert [event["type"] for event in train(cut)][-1] == "finished"  # nothing is trained again


def test_with_a_validation_file_the_best_epoch_becomes_the_model(tmp_path: Path, tiny_base: Path) -> None:
    folder = _overfitting_job(tmp_path / "job", tiny_base)
    events = train(folder)
    epochs = {
        event["step"]: event["metrics"]["full_valid_loss"]
        for event in events
        if "full_valid_loss" in event.get("metrics", {}) and event["type"] == "metrics"
    }
    best = min(epochs, key=epochs.__getitem__)
    assert best < 24
    checkpoint = [event for event in events if event["type"] == "checkpoint"][-1]
    assert (checkpoint["step"], checkpoint["metrics"]["step"]) == (24, best)
    assert checkpoint["metrics"]["full_valid_loss"] == epochs[best]
    best_weights, epoch_weights = (
        load_file(folder / "checkpoints" / name / "adapter_model.safetensors")
        for name in (checkpoint["folder"], f"step-{best}")
    )
    assert all(torch.equal(best_weights[name], epoch_weights[name]) for name in best_weights)
    assert [event["step"] for event in events if event["type"] == "best_epoch"] == [best]


def test_a_stop_does_not_wait_for_the_whole_validation(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two parts of it; the same job goes on as an uninterrupted one, and says the same."""
    monkeypatch.setattr("luthier.training.forward_pass._EXAMPLES_IN_MEMORY", 1)
    whole = train(write_job(tmp_path / "whole", tiny_base, valid=3))
    folder = write_job(tmp_path / "cut", tiny_base, valid=3)
    measured = []

    def count(trainer: Trainer) -> None:
        examples = trainer._data.examples

        def stop_at_the_second(split: str, indices, *epoch) -> list[TrainingExample]:
            if split == "valid":
                measured.append(1)
                if len(measured) == 2:
                    trainer._stop.set()
            return examples(split, indices, *epoch)

        trainer._data.examples = stop_at_the_second

    first = train(folder, at_start=count)
    assert first[-1] == {"type": "stopped"}
    assert len(measured) == 2
    resumable_types = ("metrics", "checkpoint", "finished")
    of_this_run = {"tokens": None, "gpu_bytes": None}  # the step was taken before the stop
    results = [
        [event | of_this_run for event in events if event["type"] in resumable_types]
        for events in (first + train(folder), whole)
    ]
    assert results[0] == results[1]


def test_short_memory_changes_nothing_but_the_time(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ample = losses(train(write_job(tmp_path / "ample", tiny_base)))
    monkeypatch.setattr("luthier.training.token_budget.free_bytes", lambda _: 1 << 17)
    events = train(write_job(tmp_path / "short", tiny_base))
    assert any(event["type"] == "gradient_checkpointing" for event in events)
    assert losses(events) == pytest.approx(ample, rel=1e-5)


def _calls(count: int) -> list[dict[str, Any]]:
    """The examples of `jobs`, the first `count` with a call as their answer."""
    call = {"id": "call_1", "type": "function", "function": {"name": "is_odd", "arguments": "{}"}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    tools = [{"type": "function", "function": {"name": "is_odd", "parameters": {"type": "object", "properties": {}}}}]
    with_call = [{"messages": [*example["messages"][:-1], answer], "tools": tools} for example in EXAMPLES[:count]]
    return [*with_call, *EXAMPLES[count:]]


@pytest.mark.parametrize(
    ("examples", "method", "calls"),
    [
        (EXAMPLES, "supervised", 0),
        (_calls(5), "supervised", 5),
        (_calls(12), "supervised", 12),
        (PAIRS, "dpo", 0),
    ],
)
def test_check_estimate_and_job_agree_on_the_epochs(
    tmp_path: Path, tiny_base: Path, examples: list[dict[str, Any]], method: str, calls: int
) -> None:
    """None of the three counts the examples that a job adds to a file, such as those without a call."""
    path = write_job(tmp_path / "job", tiny_base, examples, method=method) / "train.jsonl"
    renderer = Renderer(tiny_base)
    report, numbers = check_file(path, method=method), measure(path, renderer, 2048, method=method)
    options = dataset.Options(renderer, 2048, method, ToolDropout(1, 1, 1))
    data = dataset.load(path, options, "training_file", add_examples=True)
    assert (report.examples, numbers.examples, data.in_file) == (len(examples),) * 3
    assert (report.call_share, numbers.call_share, data.call_share) == (calls / len(examples),) * 3


def test_examples_are_read_from_disk(tmp_path: Path, tiny_base: Path) -> None:
    """What is held in memory does not grow with the file, and a job that goes on renders nothing again."""
    folder = write_job(tmp_path / "job", tiny_base)
    reading = dataset.Options(Renderer(tiny_base), 2048)
    first = dataset.load(folder / "train.jsonl", reading, "training_file")
    (folder / "train.jsonl").unlink()
    again = dataset.load(folder / "train.jsonl", reading, "training_file")
    assert len(again) == len(first) == len(EXAMPLES)
    assert again.tokens() == first.tokens()
    assert all(isinstance(value, np.memmap | int | float) for value in vars(again).values())
    turns = Example(EXAMPLES[5]["messages"], line=6)
    assert again.example(5)[0].ids.tolist() == reading.renderer.example(turns).ids
    assert again.example(5)[0].weights.tolist() == reading.renderer.example(turns).weights


TOOL = {"type": "function", "function": {"name": "f", "description": "does it", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = [
    {"messages": [{"role": "user", "content": f"do {n}"}, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]}
    for n in range(12)
]


def test_definitions_are_shown_in_a_mix_and_examples_without_a_call_added(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base, examples=CALLING, n_epochs=3, seed=7)
    events = train(folder)
    assert {"type": "tool_dropout", "full": 0.4, "slim": 0.2, "none": 0.4, "added_examples": 1} in events
    tokens = dataset.Dataset(folder / "train.tokens")
    renderer = Renderer(tiny_base)
    full, slim, none = (renderer.decode(tokens.example(3, view)[0].ids.tolist()) for view in range(3))
    assert '"description": "does it"' in full
    assert '"name": "f", "parameters"' in slim
    assert "<tools>" not in none
    assert all("<tool_call>" in text for text in (full, slim, none))
    assert "<tool_call>" not in renderer.decode(tokens.example(12, 2)[0].ids.tolist())
    levels = [ToolDropout().levels(7, epoch, 13) for epoch in range(3)]
    assert events[-1]["trained_tokens"] == sum(
        len(tokens.example(index, int(view))[0].ids) for epoch in levels for index, view in enumerate(epoch)
    )


@pytest.mark.parametrize(("share", "continued"), [(0.25, 3), (0, 0)])
def test_calls_go_on_with_a_result_and_an_answer(tmp_path: Path, tiny_base: Path, share: float, continued: int) -> None:
    folder = write_job(tmp_path / "job", tiny_base, examples=CALLING, valid=1, n_epochs=1, result_turns=share)
    events = [event for event in train(folder) if event["type"] == "result_turns"]
    assert events == [{"type": "result_turns", "examples": continued}] * bool(continued)
    decode = Renderer(tiny_base).decode
    for name, count in (("train", continued), ("valid", 0)):
        tokens = dataset.Dataset(folder / f"{name}.tokens")
        texts = [decode(tokens.example(index)[0].ids.tolist()) for index in range(len(tokens))]
        assert sum("<|im_start|>tool" in text for text in texts) == count


def test_batches_are_shown_alike_and_every_example_comes_once() -> None:
    mix = ToolDropout.parse("40,20,40")
    order = batching.grouped_epoch_order(7, 2, 203, 8, mix)
    assert sorted(order) == list(range(203))
    assert (order == batching.grouped_epoch_order(7, 2, 203, 8, ToolDropout())).all()
    levels = mix.levels(7, 2, 203)[order]
    kinds = [set(levels[start : start + 8].tolist()) for start in range(0, 203, 8)]
    assert sum(len(kind) > 1 for kind in kinds) <= 2
    assert len({min(kind) for kind in kinds[:8]}) > 1  # and the batches do not come sorted


def test_every_example_of_a_longer_file_is_trained(tmp_path: Path, tiny_base: Path) -> None:
    events = train(write_job(tmp_path / "job", tiny_base, examples=CALLING * 12, n_epochs=1, batch_size=32))
    assert len(losses(events)) == 5  # 144 and 14 that were added


def test_definitions_as_the_file_has_them(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_job(tmp_path / "job", tiny_base, examples=CALLING, definitions="full")
    assert not any(event["type"] == "tool_dropout" for event in train(folder))
    assert len(dataset.Dataset(folder / "train.tokens")) == 12


def test_schedule_warms_up_and_comes_down() -> None:
    rates = [learning_rate_factor(step, 100) for step in range(1, 101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate_factor(1, 1) == 1  # one step is taken at the full rate
