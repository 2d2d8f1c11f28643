"""Each family on the batched engine: logits are those of transformers, alone, in a batch, after a prefix, adapted."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from families import FAMILIES, make_base
from luthier.inference import EngineRequest, SamplingParams
from luthier.inference.engines.torch.packed_linear import can_pack
from luthier.inference.engines.torch.runner import TorchRunner
from luthier.inference.model_runner import Chunk
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.inference.stream import GenerationStream
from luthier.training.lora.adapter import adapted_layers

PROMPTS = [[(index * step) % 250 for index in range(length)] for step, length in ((7, 60), (11, 35), (3, 80))]

BATCHED = [name for name, family in FAMILIES.items() if family.batched]


class Sequence(NamedTuple):
    ids: list[int]
    slot: int | None = None


def _runner(base: Path, precision: str = "float32") -> TorchRunner:
    return TorchRunner(base, EngineOptions(device="cpu", precision=precision, max_loras=2))


def _prefill(runner: TorchRunner, ids: list[int], slot: int | None, prefix: tuple | None = None) -> tuple:
    """(the row, logits of all tokens) in two chunks, the first of them, or `prefix`, 30 tokens long."""
    row = runner.kv_cache.allocate(len(ids) + 4, prefix, private=False)
    whole = {"past_ids": ids, "prompt_tokens": len(ids)}
    parts = [] if prefix else [runner.run([Chunk(ids[:30], 0, row, slot, 30, **whole)]).copy()]
    parts.append(runner.run([Chunk(ids[30:], 30, row, slot, len(ids) - 30, **whole)]).copy())
    return row, np.concatenate(parts)


def _decoded(runner: TorchRunner, sequences: list[Sequence], steps: int = 3) -> np.ndarray:
    """Logits [steps, sequences, V] of tokens after the prompts, all sequences in one pass."""
    rows = [_prefill(runner, ids, slot)[0] for ids, slot in sequences]
    outputs = []
    for step in range(steps):
        chunks = [
            Chunk([20 + step], len(ids) + step, row, slot, 1, decode=True, past_ids=ids + [20, 21][:step])
            for (ids, slot), row in zip(sequences, rows, strict=True)
        ]
        outputs.append(runner.run(chunks).copy())
    for row in rows:
        runner.kv_cache.free(row)
    return np.stack(outputs)


@torch.inference_mode()
@pytest.mark.parametrize("name", BATCHED)
def test_logits_are_those_of_transformers(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.3)
    runner = _runner(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    targets = adapted_layers(model.config, "all-linear")
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    for key, parameter in adapted.named_parameters():
        if "lora_B" in key:
            parameter.normal_(0, 0.2)
    with warnings.catch_warnings(action="ignore"):  # PEFT asks for a model hub, in vain
        adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    slot = runner.adapters.acquire(tmp_path / "adapter", ())
    for ids in PROMPTS:
        expected = adapted(torch.tensor([ids])).logits[0].numpy()
        np.testing.assert_allclose(_prefill(runner, ids, slot)[1], expected, rtol=1e-3, atol=1e-3)
    with adapted.disable_adapter():
        plain = adapted(torch.tensor([PROMPTS[0] + [20, 21, 22]])).logits[0].numpy()
    assert np.abs(plain[:60] - adapted(torch.tensor([PROMPTS[0]])).logits[0].numpy()).max() > 0.01
    row, logits = _prefill(runner, PROMPTS[0], None)
    np.testing.assert_allclose(logits, plain[:60], rtol=1e-3, atol=1e-3)
    prefix = runner.kv_cache.save_prefix(row, 30), 30
    np.testing.assert_allclose(_prefill(runner, PROMPTS[0], None, prefix)[1], plain[30:60], rtol=1e-3, atol=1e-3)
    together = _decoded(runner, [Sequence(PROMPTS[0]), Sequence(PROMPTS[1], slot), Sequence(PROMPTS[2])])
    np.testing.assert_allclose(together[:, 0], plain[60:], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
@pytest.mark.skipif(not can_pack(torch.device("cpu"), torch.bfloat16), reason="this CPU does not pack weights")
@pytest.mark.parametrize("name", [name for name in BATCHED if "LongRoPE" not in name])  # its factors fit one width
def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(tiny_base: Path, tmp_path: Path, name: str) -> None:
    # Wider than elsewhere: oneDNN's sums over 32 products are not always the same.
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.3, width=64)
    runner = _runner(base, "bfloat16")
    together = _decoded(runner, [Sequence(ids) for ids in PROMPTS])
    for index, ids in enumerate(PROMPTS):
        assert np.array_equal(_decoded(runner, [Sequence(ids)])[:, 0], together[:, index])


@torch.inference_mode()
def test_longrope_goes_by_the_length_of_each_sequence(tiny_base: Path, tmp_path: Path) -> None:
    """It has 50 tokens until the long factors: one sequence passes them, one stays below, one reuses a short prefix."""
    base = make_base(tmp_path, tiny_base, FAMILIES["phi3 with LongRoPE"], spread=0.3)
    model = AutoModelForCausalLM.from_pretrained(base)
    engine = build_engine(base, EngineOptions(engine="batched", device="cpu", precision="float32"))

    def started(prompt: list[int], count: int) -> GenerationStream:
        greedy = SamplingParams(max_tokens=count, stop_ids=frozenset(), temperature=0.0)
        return engine.submit(EngineRequest(prompt, greedy))

    passing, short = PROMPTS[0][:44], PROMPTS[1]
    streams = [(started(passing, 14), passing, 14), (started(short, 12), short, 12)]
    for stream, prompt, count in streams:
        assert [token.id for token in stream] == _greedy(model, prompt, count)
    grown = short + [9, 8, 7] * 9
    stream = started(grown, 4)
    assert [token.id for token in stream] == _greedy(model, grown, 4)
    assert stream.cached_tokens >= len(short)
    assert [token.logprob for token in engine.score(grown, None, 1).result()] == pytest.approx(
        model(torch.tensor([grown])).logits[0].log_softmax(-1)[range(len(grown) - 1), grown[1:]].tolist(), abs=1e-3
    )
    engine.close()


def _greedy(model, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@torch.inference_mode()
@pytest.mark.parametrize("name", ["llama", "gemma3 with a short window", "cohere2", "olmo2"])
def test_a_pass_leaves_no_tensor_on_the_cpu(
    tiny_base: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is there: torch's `meta` device, which refuses tensors of others, stands in for one."""
    meta = torch.device("meta")
    monkeypatch.setattr("luthier.inference.engines.torch.runner.hardware_of", lambda *_: (meta, torch.float32))
    monkeypatch.setattr(torch, "equal", lambda *_: True)  # which `meta` does not know
    runner = _runner(make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.3))
    rows = [runner.kv_cache.allocate(64, None, private=False) for _ in range(2)]
    prefill = [Chunk(ids[:30], 0, row, None, 30) for ids, row in zip(PROMPTS, rows, strict=False)]
    assert runner._outputs(prefill, hidden=False).device == meta
    decode = [Chunk([20], 30, row, None, 1, decode=True) for row in rows]
    assert runner._outputs(decode, hidden=False).device == meta
