"""Passes of the native engine: bfloat16 is close to float32, and every pass is batch-invariant, bit by bit."""

import json
import mmap
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiers import TIERS, TIERS_AND_DTYPES, held_to
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from families import FAMILIES, make_base
from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.native import eight_bits, panels
from luthier.inference.engines.native.panels import interleaved, pack, quantize
from luthier.inference.engines.native.runner import NativeRunner, build
from luthier.inference.memory import block_pool
from luthier.inference.model_runner import Chunk
from luthier.inference.options import EngineOptions
from luthier.native import NO_COMPILER
from luthier.types.errors import BaseModelError

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
    exact, rounded = (NativeRunner(base, dtype, 1) for dtype in (torch.float32, torch.bfloat16))
    low, reference = (logits(model, chunks_of(model, [None] * 8)).log_softmax(-1) for model in (rounded, exact))
    assert (low - reference).abs().mean() < 0.02 * reference.std()


@pytest.mark.parametrize(
    ("tier", "dtype", "in_eight_bits"),
    [*((*case, False) for case in TIERS_AND_DTYPES), *((tier, torch.bfloat16, True) for tier in TIERS)],
    indirect=["tier"],
)
def test_passes_are_batch_invariant(
    tiny_base: Path, adapters: list[Path], dtype: torch.dtype, in_eight_bits: bool
) -> None:
    """All sequences in one pass, each alone, in two chunks, token by token, on more threads, beside other adapters."""
    model = NativeRunner(tiny_base, dtype, 4, eight_bits=in_eight_bits)
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
    alone = NativeRunner(tiny_base, dtype, 4, eight_bits=in_eight_bits)
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
            model = NativeRunner(base, torch.bfloat16, 1, eight_bits=in_eight_bits)
            slots = [None, model.adapters.acquire(adapter, []) if adapter else None] * 4
            logprobs.append(logits(model, chunks_of(model, slots)).log_softmax(-1))
        assert 0 < (logprobs[0] - logprobs[1]).abs().mean() < eight_bits.LIMIT


@pytest.mark.parametrize("activations", [torch.float32, torch.bfloat16])
def test_8_bits_hold_a_weight_within_half_a_step(activations: torch.dtype) -> None:
    """Also where a block is zero, tiny or huge, and where a size is no multiple of a panel."""
    torch.manual_seed(0)
    weight = torch.randn(40, 50) * torch.tensor([0, 1e-30, 1, 1e30]).repeat(10)[:, None]
    blocks = quantize(weight, activations).view(2, 2, 64 + 1024)  # panels, 32 inputs
    scales = blocks[..., :64].contiguous().view(torch.bfloat16).float()
    integers = blocks[..., 64:].contiguous().view(torch.int8).float()
    if activations == torch.float32:
        rows = integers.view(2, 2, 32, 32)  # inputs, outputs
    else:
        rows = integers.view(2, 2, 2, 16, 16, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 2, 32, 32)
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


@pytest.mark.parametrize(("tier", "dtype"), TIERS_AND_DTYPES, indirect=["tier"])
@pytest.mark.parametrize("config", [LlamaConfig, Qwen2Config])
def test_odd_sizes_and_ranks_in_a_pass_of_many_sequences(tmp_path: Path, config: type, dtype: torch.dtype) -> None:
    """No size is a multiple of a tile; 40 sequences of the base model and two adapters, against transformers with the
    adapters merged into its weights.
    """
    torch.manual_seed(3)
    sizes = {"hidden_size": 40, "intermediate_size": 23, "num_attention_heads": 5, "num_key_value_heads": 1}
    more = {"head_dim": 6, "vocab_size": 259, "num_hidden_layers": 2, "initializer_range": 0.15}
    plain = AutoModelForCausalLM.from_config(config(**sizes, **more, tie_word_embeddings=config is Qwen2Config))
    plain.save_pretrained(tmp_path / "base")
    added = [odd_adapter(tmp_path / f"adapter-{seed}", plain, seed) for seed in range(2)]
    model = NativeRunner(tmp_path / "base", dtype, 2)
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
            assert error.max() < 1e-3 if dtype == torch.float32 else error.mean() < 0.05
        for name, change in added[which - 1].items() if which else ():
            plain.get_submodule(name).weight.data -= change


@pytest.mark.parametrize(("tier", "dtype"), TIERS_AND_DTYPES, indirect=["tier"])
def test_stale_contents_of_a_block_leave_no_trace(tiny_base: Path, dtype: torch.dtype) -> None:
    model = NativeRunner(tiny_base, dtype, 1)
    expected = logits(model, chunks_of(model, [None] * 8))
    stale = NativeRunner(tiny_base, dtype, 1)
    for name, data in stale.pool.data.items():
        if name.startswith("values"):
            data[:] = -1 if dtype == torch.bfloat16 else float("nan")  # all bits set, which is NaN too
    assert torch.equal(logits(stale, chunks_of(stale, [None] * 8)), expected)


@pytest.mark.parametrize(("tier", "dtype"), TIERS_AND_DTYPES, indirect=["tier"])
def test_adapters_with_infinities_are_refused(
    tiny_base: Path, adapters: list[Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    """Rows of other adapters are masked by multiplying with zero, which infinities would survive."""
    broken = copytree(adapters[0], tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    weights[max(weights)][0, 0] = float("inf")
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(BaseModelError, match="not finite"):
        NativeRunner(tiny_base, dtype, 1).adapters.acquire(broken, [])


def test_a_factor_of_another_rank_is_refused(tiny_base: Path, adapters: list[Path], tmp_path: Path) -> None:
    """One column would be broadcast to all of them silently."""
    broken = copytree(adapters[0], tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name] = weights[name][:, :1].clone()
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(BaseModelError, match="broken or made for another base model"):
        NativeRunner(tiny_base, torch.float32, 1).adapters.acquire(broken, [])


def test_huge_pages_are_optional(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutHugePages(mmap.mmap):
        def madvise(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    expected = NativeRunner(tiny_base, torch.float32, 1)
    monkeypatch.setattr(panels.mmap, "mmap", WithoutHugePages)
    model = NativeRunner(tiny_base, torch.float32, 1)
    assert torch.equal(*(logits(entry, chunks_of(entry, [None] * 8)) for entry in (model, expected)))


def test_a_pool_that_cannot_grow_stays_usable(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NativeRunner(tiny_base, torch.float32, 1)
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
    model = NativeRunner(tiny_base, torch.float32, 1)
    with pytest.raises(IndexError, match="vocabulary"):
        logits(model, [Chunk([258], 0, model.pool.allocate(1), None, 1)])


def test_panels_hold_a_weight_and_zeros() -> None:
    weight = torch.arange(40 * 50, dtype=torch.float32).view(40, 50)
    packed = pack(weight).view(2, 64, 32)
    assert torch.equal(packed.transpose(1, 2).reshape(64, 64)[:40, :50], weight)
    assert packed.sum() == weight.sum()
    tiles = pack(weight.bfloat16()).view(2, 2, 2, 16, 16, 2)  # panel, 32 inputs, 16 outputs: pairs, outputs, which
    assert tiles[1, 1, 0, 3, 5, 1] == weight.bfloat16()[32 + 5, 32 + 7]


def test_gate_and_up_are_interleaved() -> None:
    assert interleaved(20).view(2, 2, 16)[1].tolist() == [[*range(16, 20)] + [-1] * 12, [*range(36, 40)] + [-1] * 12]
