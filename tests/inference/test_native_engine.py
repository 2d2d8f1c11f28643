"""Passes of the native engine: bfloat16 is close to float32, and every pass is batch-invariant, bit by bit."""

import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiers import TIERS, TIERS_AND_PRECISIONS, held_to
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from families import FAMILIES, make_base
from luthier.arch import DecoderSpec
from luthier.arch.projections import PROJECTIONS
from luthier.devices import Precision
from luthier.hardware import cpu_tiers
from luthier.inference.engines import bfloat16
from luthier.inference.engines.native import eight_bits, library, panels
from luthier.inference.engines.native.panels import interleaved, pack, quantize
from luthier.inference.engines.native.rotary_table import RotaryTable
from luthier.inference.engines.native.runner import NativeRunner, build
from luthier.inference.memory import block_pool
from luthier.inference.model_runner import Chunk
from luthier.inference.options import EngineOptions
from luthier.native import NO_COMPILER
from luthier.types.errors import BaseModelError
from luthier.types.plain_settings import DEFAULT_CACHE

pytestmark = pytest.mark.skipif(not TIERS, reason=NO_COMPILER)
LENGTHS = (1, 3, 40, 70, 150, 2, 33, 64)


@pytest.fixture(autouse=True)
def tier(request: pytest.FixtureRequest) -> Iterator[None]:
    """Native engines run on the tier that the test is parametrized with, if it is."""
    with held_to(request.param) if hasattr(request, "param") else nullcontext():
        yield


def logits(model: NativeRunner, chunks: list[Chunk]) -> torch.Tensor:
    return torch.from_numpy(model.run(chunks))


def chunks_of(model: NativeRunner, slots: list[int | None], past: int = 0) -> list[Chunk]:
    """One chunk of each length, with outputs for every token; the first `past` tokens are in the KV cache."""
    chunks = []
    for number, (slot, length) in enumerate(zip(slots, LENGTHS, strict=False)):
        ids = [(7 * index + 31 * number) % 250 for index in range(length)]
        blocks: list[int] = []
        model.pool.extend(blocks, length)
        if cached := min(past, length - 1):
            logits(model, [Chunk(ids[:cached], 0, blocks, slot, 0)])
        chunks.append(Chunk(ids[cached:], cached, blocks, slot, length - cached))
    return chunks


def slots_of(model: NativeRunner, folders: list[Path]) -> list[int | None]:
    """The slot of each chunk: adapters, and the base model at both ends and between."""
    return [None, *(model.adapters.acquire(folder, folders) for folder in folders), None, 0, 1]


@pytest.mark.parametrize("tier", TIERS, indirect=True)
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.fused])
def test_bfloat16_is_close_to_float32(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.1)
    exact, rounded = (NativeRunner(base, precision, 1) for precision in ("float32", "bfloat16"))
    low, reference = (logits(model, chunks_of(model, [None] * 8)).log_softmax(-1) for model in (rounded, exact))
    assert (low - reference).abs().mean() < 0.02 * reference.std()


@pytest.mark.parametrize(
    ("tier", "precision", "in_eight_bits"),
    [*((*case, False) for case in TIERS_AND_PRECISIONS), *((tier, "bfloat16", True) for tier in TIERS)],
    indirect=["tier"],
)
def test_passes_are_batch_invariant(
    tiny_base: Path, adapters: list[Path], precision: Precision, in_eight_bits: bool
) -> None:
    """All sequences in one pass, each alone, in two chunks, token by token, on more threads, beside other adapters."""
    model = NativeRunner(tiny_base, precision, 4, eight_bits=in_eight_bits)
    slots = slots_of(model, adapters)
    together = chunks_of(model, slots)
    expected = logits(model, together)
    assert expected.isfinite().all()
    assert torch.equal(
        torch.cat([logits(model, [chunk]) for chunk in reversed(chunks_of(model, slots))][::-1]), expected
    )
    second_chunks = chunks_of(model, slots, past=35)
    rest = torch.cat([rows[min(35, len(rows) - 1) :] for rows in expected.split(LENGTHS)])
    assert torch.equal(logits(model, second_chunks), rest)
    chunk = chunks_of(model, slots)[3]
    single_tokens = [
        Chunk(chunk.token_ids[at : at + 1], at, chunk.cache, chunk.lora_slot, 1) for at in range(len(chunk.token_ids))
    ]
    assert torch.equal(torch.cat([logits(model, [token]) for token in single_tokens]), expected.split(LENGTHS)[3])
    for threads in (1, 2, 5):
        model._pass.threads = threads
        assert torch.equal(logits(model, chunks_of(model, slots)), expected)
    alone = NativeRunner(tiny_base, precision, 4, eight_bits=in_eight_bits)
    only = alone.adapters.acquire(adapters[2], [])
    (third,) = chunks_of(alone, [None] * 3 + [only])[3:]
    assert torch.equal(logits(alone, [third]), expected.split(LENGTHS)[3])


@pytest.mark.parametrize("tier", TIERS, indirect=True)
def test_8_bits_are_close_to_all(tiny_base: Path, tmp_path: Path, adapters: list[Path]) -> None:
    """With an adapter, and with embeddings that are not tied: within what the parity gate allows."""
    untied = make_base(tmp_path, tiny_base, FAMILIES["qwen2"], spread=0.1)
    for base, adapter in ((tiny_base, adapters[0]), (untied, None)):
        logprobs = []
        for in_eight_bits in (False, True):
            model = NativeRunner(base, "bfloat16", 1, eight_bits=in_eight_bits)
            slots = [None, model.adapters.acquire(adapter, []) if adapter else None] * 4
            logprobs.append(logits(model, chunks_of(model, slots)).log_softmax(-1))
        assert 0 < (logprobs[0] - logprobs[1]).abs().mean() < eight_bits.LIMIT


@pytest.mark.skipif(not TIERS, reason=NO_COMPILER)
def test_threads_spin_briefly_in_every_process_that_serves(tiny_base: Path) -> None:
    """Beside another program they would otherwise wait for each other most of the time."""
    program = (
        "import ctypes, os, sys\n"
        "from pathlib import Path\n"
        "counts = set()\n"
        "class Recorded(ctypes.CDLL):\n"
        "    def __init__(self, path):\n"
        "        if path.endswith('.so'):\n"
        "            counts.add(os.environ.get('GOMP_SPINCOUNT'))\n"
        "        super().__init__(path)\n"
        "ctypes.CDLL = Recorded\n"
        "from luthier.inference.options import EngineOptions\n"
        "from luthier.inference.registry import select_engine\n"
        "select_engine(Path(sys.argv[1]), EngineOptions())\n"
        "assert 'torch' not in sys.modules\n"
        "print(counts)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", program, str(tiny_base)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "{'1000'}\n"


@pytest.mark.parametrize("tier", TIERS, indirect=True)
def test_8_bits_pass_on_numbers_that_are_not_finite(tiny_base: Path, tmp_path: Path) -> None:
    """Inputs that cannot be rounded to integers do not become ordinary numbers."""
    base = copytree(tiny_base, tmp_path / "base")
    (file,) = base.glob("*.safetensors")
    weights = load_file(file)
    weights["model.layers.0.post_attention_layernorm.weight"][3] = float("inf")
    save_file(weights, file, {"format": "pt"})
    model = NativeRunner(base, "bfloat16", 1, eight_bits=True)
    assert not logits(model, chunks_of(model, [None] * 8)).isfinite().any()


@pytest.mark.parametrize("in_pairs", [False, True])
def test_8_bits_hold_a_weight_within_half_a_step(in_pairs: bool) -> None:
    """Also where a block is zero, tiny or huge, and where a size is no multiple of a panel."""
    torch.manual_seed(0)
    weight = torch.randn(40, 50) * torch.tensor([0, 1e-30, 1, 1e30]).repeat(10)[:, None]
    blocks = torch.from_numpy(quantize(weight.numpy(), in_pairs=in_pairs)).view(2, 2, 64 + 1024)  # panels, 32 inputs
    scales = blocks[..., :64].contiguous().view(torch.bfloat16).float()
    integers = blocks[..., 64:].contiguous().view(torch.int8).float()
    if in_pairs:
        rows = integers.view(2, 2, 2, 16, 16, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 2, 32, 32)
    else:
        rows = integers.view(2, 2, 32, 32)  # inputs, outputs
    restored = (rows * scales[:, :, None]).permute(0, 3, 1, 2).reshape(64, 64)
    steps = scales.permute(0, 2, 1).reshape(64, 2).repeat_interleave(32, 1)
    padded = torch.zeros(64, 64)
    padded[:40, :50] = weight
    assert ((restored - padded).abs() <= steps * 0.5001).all()
    assert (steps[:40, :32].amax(1) <= weight[:, :32].abs().amax(1) / 127 * 1.01 + 1e-37).all()


@pytest.mark.parametrize(("limit", "chosen"), [(9.0, True), (1e-6, False)])
def test_8_bits_are_chosen_where_they_change_little(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, chosen: bool
) -> None:
    """`auto` measures once, and again when the model is another."""
    monkeypatch.setattr(eight_bits, "LIMIT", limit)
    measured = []
    real = eight_bits._mean_difference
    monkeypatch.setattr(
        eight_bits, "_mean_difference", lambda *arguments: measured.append(arguments) or real(*arguments)
    )
    base = copytree(tiny_base, tmp_path / "base")
    options = EngineOptions(device="cpu", precision="bfloat16")
    monkeypatch.setattr(eight_bits, "_folder", lambda _: tmp_path / "measured")
    assert [build(base, options).eight_bits for _ in range(2)] == [chosen] * 2
    assert len(measured) == 1
    (base / "config.json").write_text((base / "config.json").read_text() + " ")
    assert build(base, options).eight_bits is chosen
    assert len(measured) == 2
    for weights, precision, expected in (
        ("full", "bfloat16", False),
        ("int8", "float32", True),
        ("auto", "float32", False),
    ):
        assert build(base, replace(options, serving_weights=weights, precision=precision)).eight_bits is expected
    assert len(measured) == 2
    monkeypatch.setattr(EngineOptions, "cpu_precision", lambda *_: "float32")  # as on AVX2
    assert build(base, replace(options, precision="auto")).eight_bits is chosen
    assert len(measured) == 3


@pytest.mark.parametrize(
    ("tier_name", "can", "speedup", "expected"),
    [
        ("amx", True, 0.1, "bfloat16"),
        ("avx512-bf16", True, 2.1, "bfloat16"),
        ("avx512-bf16", True, 0.6, "float32"),
        ("avx512", False, 0.0, "float32"),
    ],
)
def test_activations_are_bfloat16_where_that_is_not_slow(
    tmp_path: Path, tier_name: str, can: bool, speedup: float, expected: Precision
) -> None:
    functions = SimpleNamespace(luthier_computes_bf16=lambda: can, luthier_bf16_speedup=lambda: speedup)
    cpu_tier = cpu_tiers()[0]._replace(name=tier_name)
    native_library = library.Library(cpu_tier, functions, library._computes_bf16(tmp_path, cpu_tier, functions))
    assert native_library.activations("bfloat16") == expected
    assert native_library.activations("float32") == "float32"


@pytest.mark.skipif("avx512-bf16" not in TIERS, reason="no AVX-512 with bfloat16")
def test_the_speed_of_bfloat16_can_be_measured() -> None:
    with held_to("avx512-bf16"):
        native_library = library.fastest_library(DEFAULT_CACHE)
    assert native_library is not None
    assert 0.1 < native_library.functions.luthier_bf16_speedup() < 10


def odd_adapter(folder: Path, model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Ranks differ between layers, and some have no adapter. Returns what it adds to the weights."""
    torch.manual_seed(seed)
    weights, added = {}, {}
    names = [name for paths in PROJECTIONS.values() for name in paths]
    for layer in range(len(model.model.layers)):
        for at, name in enumerate(names):
            if (rank := (1, 17, 33, 0, 8)[(at + 2 * layer + seed) % 5]) == 0:
                continue
            linear = model.model.layers[layer].get_submodule(name)
            a, b = torch.randn(rank, linear.in_features) * 0.2, torch.randn(linear.out_features, rank) * 0.1
            key = f"base_model.model.model.layers.{layer}.{name}"
            weights |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
            added[f"model.layers.{layer}.{name}"] = b @ a * (8 / rank)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8}))
    return added


@pytest.mark.parametrize(("tier", "precision"), TIERS_AND_PRECISIONS, indirect=["tier"])
@pytest.mark.parametrize("config", [LlamaConfig, Qwen2Config])
def test_odd_sizes_and_ranks_in_a_pass_of_many_sequences(tmp_path: Path, config: type, precision: Precision) -> None:
    """No size is a multiple of a tile; 40 sequences of the base model and two adapters, against transformers with the
    adapters merged into its weights.
    """
    torch.manual_seed(3)
    sizes = {"hidden_size": 40, "intermediate_size": 23, "num_attention_heads": 5, "num_key_value_heads": 1}
    more = {"head_dim": 6, "vocab_size": 259, "num_hidden_layers": 2, "initializer_range": 0.15}
    plain = AutoModelForCausalLM.from_config(config(**sizes, **more, tie_word_embeddings=config is Qwen2Config))
    plain.save_pretrained(tmp_path / "base")
    added = [odd_adapter(tmp_path / f"adapter-{seed}", plain, seed) for seed in range(2)]
    model = NativeRunner(tmp_path / "base", precision, 2)
    slots = [model.adapters.acquire(tmp_path / f"adapter-{seed}", []) for seed in range(2)]
    chunks = []
    for number in range(40):
        ids = [(13 * index + 7 * number) % 259 for index in range(1 + number % 9 if number else 130)]
        chunks.append(Chunk(ids, 0, model.pool.allocate(3), (None, *slots)[number % 3], len(ids)))
    outputs = logits(model, chunks).split([len(chunk.token_ids) for chunk in chunks])
    for which in range(3):
        for name, change in added[which - 1].items() if which else ():
            plain.get_submodule(name).weight.data += change
        for chunk, rows in list(zip(chunks, outputs, strict=True))[which::3]:
            with torch.inference_mode():
                expected = plain(torch.tensor([chunk.token_ids])).logits[0]
            error = (rows - expected).abs() / expected.std()
            assert error.max() < 1e-3 if precision == "float32" else error.mean() < 0.05
        for name, change in added[which - 1].items() if which else ():
            plain.get_submodule(name).weight.data -= change


@pytest.mark.parametrize(("tier", "precision"), TIERS_AND_PRECISIONS, indirect=["tier"])
def test_stale_contents_of_a_block_leave_no_trace(tiny_base: Path, precision: Precision) -> None:
    model = NativeRunner(tiny_base, precision, 1)
    expected = logits(model, chunks_of(model, [None] * 8))
    stale = NativeRunner(tiny_base, precision, 1)
    for name, data in stale.pool.data.items():
        if name.startswith("values"):
            data[:] = -1 if precision == "bfloat16" else float("nan")  # all bits set, which is NaN too
    assert torch.equal(logits(stale, chunks_of(stale, [None] * 8)), expected)


@pytest.mark.parametrize(("tier", "precision"), TIERS_AND_PRECISIONS, indirect=["tier"])
def test_adapters_with_infinities_are_refused(
    tiny_base: Path, adapters: list[Path], tmp_path: Path, precision: Precision
) -> None:
    """Rows of other adapters are masked by multiplying with zero, which infinities would survive."""
    broken = copytree(adapters[0], tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    weights[max(weights)][0, 0] = float("inf")
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(BaseModelError, match="not finite"):
        NativeRunner(tiny_base, precision, 1).adapters.acquire(broken, [])


def test_a_factor_of_another_rank_is_refused(tiny_base: Path, adapters: list[Path], tmp_path: Path) -> None:
    """One column would be broadcast to all of them silently."""
    broken = copytree(adapters[0], tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name] = weights[name][:, :1].clone()
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(BaseModelError, match="broken or made for another base model"):
        NativeRunner(tiny_base, "float32", 1).adapters.acquire(broken, [])


def test_huge_pages_are_optional(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutHugePages(mmap.mmap):
        def madvise(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    expected = NativeRunner(tiny_base, "float32", 1)
    monkeypatch.setattr(panels.mmap, "mmap", WithoutHugePages)
    model = NativeRunner(tiny_base, "float32", 1)
    assert torch.equal(*(logits(entry, chunks_of(entry, [None] * 8)) for entry in (model, expected)))


def test_a_pool_that_cannot_grow_stays_usable(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NativeRunner(tiny_base, "float32", 1)
    chunks = chunks_of(model, [None] * 8)
    expected = logits(model, chunks)
    real, calls = block_pool._aligned_zeros, []

    def third_fails(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise MemoryError
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(block_pool, "_aligned_zeros", third_fails)
        with pytest.raises(MemoryError):
            model.pool.allocate(1000)
    assert torch.equal(logits(model, chunks), expected)
    assert len(model.pool.allocate(1000)) == 1000
    assert torch.equal(logits(model, chunks), expected)


def test_tokens_outside_the_vocabulary_are_refused(tiny_base: Path) -> None:
    model = NativeRunner(tiny_base, "float32", 1)
    with pytest.raises(IndexError, match="vocabulary"):
        logits(model, [Chunk([258], 0, model.pool.allocate(1), None, 1)])


def test_panels_hold_a_weight_and_zeros() -> None:
    weight = np.arange(40 * 50, dtype=np.float32).reshape(40, 50)
    packed = pack(weight).reshape(2, 64, 32)
    assert np.array_equal(packed.transpose(0, 2, 1).reshape(64, 64)[:40, :50], weight)
    assert packed.sum() == weight.sum()
    rounded = bfloat16.rounded(weight)
    tiles = pack(rounded).reshape(2, 2, 2, 16, 16, 2)  # panel, 32 inputs, 16 outputs: pairs, outputs, which
    assert tiles[1, 1, 0, 3, 5, 1] == rounded[32 + 5, 32 + 7]


def test_bfloat16_is_rounded_as_torch_does() -> None:
    """Ties, subnormal numbers, infinities, NaN with any payload, and the largest number, which becomes infinity."""
    bits = np.arange(0, 2**32, 12_345, dtype=np.uint64).astype(np.uint32)
    special = [0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x3F808000, 0x3F818000, 1]
    values = np.concatenate([bits, np.array(special, np.uint32)]).view(np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(bfloat16.widened(bfloat16.rounded(values)), expected, equal_nan=True)


def test_gate_and_up_are_interleaved() -> None:
    panel = [[*range(16, 20)] + [-1] * 12, [*range(36, 40)] + [-1] * 12]
    assert interleaved(20).reshape(2, 2, 16)[1].tolist() == panel


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 500.0},
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0},
        {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 64},
        {"rope_type": "llama3", "rope_theta": 5e5, "factor": 2, "low_freq_factor": 1, "high_freq_factor": 2},
    ],
)  # fmt: skip
def test_rotary_tables_are_those_of_transformers(rope: dict[str, Any]) -> None:
    """Also past the first positions, and where the config leaves the length of pretraining out."""
    config = LlamaConfig(hidden_size=64, num_attention_heads=2, max_position_embeddings=128, rope_parameters=rope)
    spec = DecoderSpec.from_config(config)
    assert isinstance(spec, DecoderSpec)
    table = RotaryTable(spec)
    table.lookup(10)
    expected = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(1500)[None])
    for computed, reference in zip(table.lookup(1500), expected, strict=True):
        assert np.abs(computed[:1500] - reference[0].numpy()).max() < 3e-4  # 1500 radians in float32


def _base(folder: Path, tiny_base: Path, change: Callable[[dict[str, torch.Tensor]], None], **config: Any) -> Path:
    """The tiny base with other weights."""
    base = copytree(tiny_base, folder)
    weights = load_file(base / "model.safetensors")
    change(weights)
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    values = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(values | config))
    return base


NORM, GATE = "model.layers.1.input_layernorm.weight", "model.layers.0.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(NORM), f"lacks 1 weights, such as {NORM}"),
        (lambda weights: weights.update({GATE: weights[GATE][:-1].clone()}), f"{GATE} has the shape"),
        (lambda weights: weights.update({NORM: weights[NORM].int()}), f"{NORM} is stored as I32"),
    ],
)
def test_a_base_with_other_weights_than_its_config_says_is_refused(
    tiny_base: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    with pytest.raises(BaseModelError, match=re.escape(message)):
        NativeRunner(_base(tmp_path / "base", tiny_base, change), "float32", 1)


def test_a_cut_file_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    base = copytree(tiny_base, tmp_path / "base")
    stored = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(stored[:-4])
    with pytest.raises(BaseModelError, match="The base model base cannot be loaded"):
        NativeRunner(base, "float32", 1)


def _head(weights: dict[str, torch.Tensor], factor: float) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] * factor


@pytest.mark.parametrize(
    ("change", "config"),
    [
        (lambda weights: _head(weights, 1), {"tie_word_embeddings": True}),
        (lambda weights: _head(weights, 2), {"tie_word_embeddings": True}),
        (lambda weights: _head(weights, 2), {"tie_word_embeddings": False}),
        (lambda weights: weights.update({name: weights[name].half() for name in weights}), {}),
        (lambda weights: weights.update({name.removeprefix("model."): weights.pop(name) for name in [*weights]}), {}),
    ],
)
def test_weights_are_read_as_transformers_reads_them(
    tiny_base: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], config: dict[str, Any]
) -> None:
    """Embeddings stored twice, or apart although the config ties them; float16; a model saved without its head."""
    base = _base(tmp_path / "base", tiny_base, change, **config)
    model = NativeRunner(base, "float32", 1)
    ids = [*range(3, 40)]
    blocks: list[int] = []
    model.pool.extend(blocks, len(ids))
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        expected = plain(torch.tensor([ids])).logits[0]
    assert torch.allclose(logits(model, [Chunk(ids, 0, blocks, None, len(ids))]), expected, atol=1e-4)


def test_the_process_of_an_engine_imports_no_torch(tiny_base: Path, adapters: list[Path]) -> None:
    """Torch and transformers take more memory than a small model."""
    code = f"""
import sys
from pathlib import Path
from luthier.inference import EngineOptions, EngineRequest, SamplingParams
from luthier.inference.registry import build_engine
engine = build_engine(Path({str(tiny_base)!r}), EngineOptions(serving_weights="int8"))
sampling = SamplingParams(max_tokens=3, stop_ids=frozenset(), temperature=0.5)
assert len(list(engine.submit(EngineRequest([1, 2, 3], sampling, Path({str(adapters[0])!r}))))) == 3
engine.close()
sys.exit("torch" in sys.modules or "transformers" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
