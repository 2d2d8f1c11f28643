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
from luthier.inference.engines.torch.packed_linear import can_pack
from luthier.inference.engines.torch.runner import TorchRunner
from luthier.inference.model_runner import Chunk
from luthier.inference.options import EngineOptions

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
    parts = [] if prefix else [runner.run([Chunk(ids[:30], 0, row, slot, 30)]).copy()]
    parts.append(runner.run([Chunk(ids[30:], 30, row, slot, len(ids) - 30)]).copy())
    return row, np.concatenate(parts)


def _decoded(runner: TorchRunner, sequences: list[Sequence], steps: int = 3) -> np.ndarray:
    """Logits [steps, sequences, V] of tokens after the prompts, all sequences in one pass."""
    rows = [_prefill(runner, ids, slot)[0] for ids, slot in sequences]
    outputs = []
    for step in range(steps):
        chunks = [
            Chunk([20 + step], len(ids) + step, row, slot, 1, decode=True)
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
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
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
@pytest.mark.parametrize("name", BATCHED)
def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(tiny_base: Path, tmp_path: Path, name: str) -> None:
    # Wider than elsewhere: oneDNN's sums over 32 products are not always the same.
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.3, width=64)
    runner = _runner(base, "bfloat16")
    together = _decoded(runner, [Sequence(ids) for ids in PROMPTS])
    for index, ids in enumerate(PROMPTS):
        assert np.array_equal(_decoded(runner, [Sequence(ids)])[:, 0], together[:, index])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["llama", "gemma3 with a short window", "cohere2", "olmo2"])
def test_a_pass_leaves_no_tensor_on_the_cpu(
    tiny_base: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is there: torch's `meta` device, which refuses tensors of others, stands in for one."""
    meta = torch.device("meta")
    monkeypatch.setattr("luthier.inference.engines.torch.runner.hardware_of", lambda _: (meta, torch.float32))
    monkeypatch.setattr(torch, "equal", lambda *_: True)  # which `meta` does not know
    runner = _runner(make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.3))
    rows = [runner.kv_cache.allocate(64, None, private=False) for _ in range(2)]
    prefill = [Chunk(ids[:30], 0, row, None, 30) for ids, row in zip(PROMPTS, rows, strict=False)]
    assert runner._outputs(prefill, hidden=False).device == meta
    decode = [Chunk([20], 30, row, None, 1, decode=True) for row in rows]
    assert runner._outputs(decode, hidden=False).device == meta
