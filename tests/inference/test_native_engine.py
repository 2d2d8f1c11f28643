"""Passes of the native engine: in bfloat16 near float32, and the same bits whatever stands beside a text."""

import json
import mmap
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from families import FAMILIES, make_base
from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.native import panels
from luthier.inference.engines.native.library import unavailable
from luthier.inference.engines.native.panels import interleaved, pack
from luthier.inference.engines.native.runner import NativeRunner
from luthier.inference.memory import block_pool
from luthier.inference.model_runner import Chunk
from luthier.types.errors import BaseModelError

FORMATS = [
    pytest.param(dtype, marks=pytest.mark.skipif(bool(unavailable(dtype)), reason=f"{unavailable(dtype)}"))
    for dtype in (torch.float32, torch.bfloat16)
]
HALVES = FORMATS[1:]
LENGTHS = (1, 3, 40, 70, 150, 2, 33, 64)


def logits(model: NativeRunner, chunks: list[Chunk]) -> torch.Tensor:
    return torch.from_numpy(model.run(chunks))


def texts(model: NativeRunner, slots: list[int | None], past: int = 0) -> list[Chunk]:
    """One of each length, every token asked for; `past` tokens of it are known."""
    made = []
    for at, (slot, length) in enumerate(zip(slots, LENGTHS, strict=False)):
        ids = [(7 * index + 31 * at) % 250 for index in range(length)]
        blocks: list[int] = []
        model.pool.extend(blocks, length)
        if known := min(past, length - 1):
            logits(model, [Chunk(ids[:known], 0, blocks, slot, 0)])
        made.append(Chunk(ids[known:], known, blocks, slot, length - known))
    return made


def loaded(model: NativeRunner, folders: list[Path]) -> list[int | None]:
    return [None, *(model.adapters.acquire(folder, folders) for folder in folders), None, 0, 1]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.written_out])
def test_in_bfloat16_it_is_near_float32(tiny_base: Path, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.1)
    exact, rounded = (NativeRunner(base, kind, 1) for kind in (torch.float32, dtype))
    found, wanted = (logits(model, texts(model, [None] * 8)).log_softmax(-1) for model in (rounded, exact))
    assert (found - wanted).abs().mean() < 0.02 * wanted.std()


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_text_has_the_same_bits_in_any_company(tiny_base: Path, adapters: list[Path], dtype: torch.dtype) -> None:
    """In one pass of all, each alone, read in two pieces or token by token, on more threads, and with other adapters in
    memory.
    """
    model = NativeRunner(tiny_base, dtype, 4)
    slots = loaded(model, adapters)
    together = texts(model, slots)
    wanted = logits(model, together)
    assert wanted.isfinite().all()
    assert torch.equal(torch.cat([logits(model, [part]) for part in reversed(texts(model, slots))][::-1]), wanted)
    pieces = texts(model, slots, past=35)
    rest = torch.cat([rows[min(35, len(rows) - 1) :] for rows in wanted.split(LENGTHS)])
    assert torch.equal(logits(model, pieces), rest)
    part = texts(model, slots)[3]
    told = [Chunk(part.token_ids[at : at + 1], at, part.cache, part.lora_slot, 1) for at in range(len(part.token_ids))]
    assert torch.equal(torch.cat([logits(model, [one]) for one in told]), wanted.split(LENGTHS)[3])
    for threads in (1, 2, 5):
        model._pass.threads = threads
        assert torch.equal(logits(model, texts(model, slots)), wanted)
    alone = NativeRunner(tiny_base, dtype, 4)
    only = alone.adapters.acquire(adapters[2], [])
    (third,) = texts(alone, [None] * 3 + [only])[3:]
    assert torch.equal(logits(alone, [third]), wanted.split(LENGTHS)[3])


def odd_adapter(folder: Path, model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Of another rank on each layer, none on some; what it adds to the weights."""
    torch.manual_seed(seed)
    weights, added = {}, {}
    names = [name for ones in PROJECTIONS.values() for name in ones]
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


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("config", [LlamaConfig, Qwen2Config])
def test_odd_sizes_and_ranks_in_a_pass_of_many_texts(tmp_path: Path, config: type, dtype: torch.dtype) -> None:
    """Nothing is a multiple of anything; 40 texts of the base and two adapters, against transformers with the adapters
    merged into its weights.
    """
    torch.manual_seed(3)
    sizes = {"hidden_size": 40, "intermediate_size": 23, "num_attention_heads": 5, "num_key_value_heads": 1}
    more = {"head_dim": 6, "vocab_size": 259, "num_hidden_layers": 2, "initializer_range": 0.15}
    plain = AutoModelForCausalLM.from_config(config(**sizes, **more, tie_word_embeddings=config is Qwen2Config))
    plain.save_pretrained(tmp_path / "base")
    added = [odd_adapter(tmp_path / f"adapter-{seed}", plain, seed) for seed in range(2)]
    model = NativeRunner(tmp_path / "base", dtype, 2)
    slots = [model.adapters.acquire(tmp_path / f"adapter-{seed}", []) for seed in range(2)]
    parts = []
    for at in range(40):
        ids = [(13 * index + 7 * at) % 259 for index in range(1 + at % 9 if at else 130)]
        parts.append(Chunk(ids, 0, model.pool.allocate(3), (None, *slots)[at % 3], len(ids)))
    found = logits(model, parts).split([len(part.token_ids) for part in parts])
    for which in range(3):
        for name, change in added[which - 1].items() if which else ():
            plain.get_submodule(name).weight.data += change
        for part, rows in list(zip(parts, found, strict=True))[which::3]:
            with torch.inference_mode():
                wanted = plain(torch.tensor([part.token_ids])).logits[0]
            error = (rows - wanted).abs() / wanted.std()
            assert error.max() < 1e-3 if dtype == torch.float32 else error.mean() < 0.05
        for name, change in added[which - 1].items() if which else ():
            plain.get_submodule(name).weight.data -= change


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_a_block_held_before_leaves_no_trace(tiny_base: Path, dtype: torch.dtype) -> None:
    model = NativeRunner(tiny_base, dtype, 1)
    wanted = logits(model, texts(model, [None] * 8))
    nothing = NativeRunner(tiny_base, dtype, 1)
    for name, data in nothing.pool.data.items():
        if name.startswith("values"):
            data[:] = -1 if dtype == torch.bfloat16 else float("nan")  # all bits set: not a number either
    assert torch.equal(logits(nothing, texts(nothing, [None] * 8)), wanted)


@pytest.mark.parametrize("dtype", FORMATS)
def test_adapters_that_are_no_numbers_are_refused(
    tiny_base: Path, adapters: list[Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    """What is not a row's own is multiplied with zero, which leaves nothing of numbers only."""
    broken = copytree(adapters[0], tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    weights[max(weights)][0, 0] = float("inf")
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(BaseModelError, match="not finite"):
        NativeRunner(tiny_base, dtype, 1).adapters.acquire(broken, [])


def test_a_factor_of_another_rank_is_refused(tiny_base: Path, adapters: list[Path], tmp_path: Path) -> None:
    """One column would be taken for all of them without a word."""
    broken = copytree(adapters[0], tmp_path / "broken")
    weights = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name] = weights[name][:, :1].clone()
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(BaseModelError, match="broken or made for another base model"):
        NativeRunner(tiny_base, torch.float32, 1).adapters.acquire(broken, [])


def test_a_system_without_large_pages_will_do(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(mmap.mmap):
        def madvise(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    wanted = NativeRunner(tiny_base, torch.float32, 1)
    monkeypatch.setattr(panels.mmap, "mmap", Plain)
    model = NativeRunner(tiny_base, torch.float32, 1)
    assert torch.equal(*(logits(one, texts(one, [None] * 8)) for one in (model, wanted)))


def test_blocks_that_cannot_grow_stay_as_they_are(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NativeRunner(tiny_base, torch.float32, 1)
    parts = texts(model, [None] * 8)
    wanted = logits(model, parts)
    real, asked = block_pool._aligned_zeros, []

    def no_third(*given):
        asked.append(given)
        if len(asked) == 3:
            raise MemoryError
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(block_pool, "_aligned_zeros", no_third)
        with pytest.raises(MemoryError):
            model.pool.allocate(1000)
    assert torch.equal(logits(model, parts), wanted)
    assert len(model.pool.allocate(1000)) == 1000
    assert torch.equal(logits(model, parts), wanted)


def test_a_token_that_is_not_in_the_vocabulary_is_refused(tiny_base: Path) -> None:
    model = NativeRunner(tiny_base, torch.float32, 1)
    with pytest.raises(IndexError, match="vocabulary"):
        logits(model, [Chunk([258], 0, model.pool.allocate(1), None, 1)])


def test_panels_hold_a_weight_and_zeros() -> None:
    weight = torch.arange(40 * 50, dtype=torch.float32).view(40, 50)
    made = pack(weight).view(2, 64, 32)
    assert torch.equal(made.transpose(1, 2).reshape(64, 64)[:40, :50], weight)
    assert made.sum() == weight.sum()
    tiles = pack(weight.bfloat16()).view(2, 2, 2, 16, 16, 2)  # panel, 32 inputs, 16 outputs: pairs, outputs, which
    assert tiles[1, 1, 0, 3, 5, 1] == weight.bfloat16()[32 + 5, 32 + 7]


def test_gate_and_up_stand_side_by_side() -> None:
    assert interleaved(20).view(2, 2, 16)[1].tolist() == [[*range(16, 20)] + [-1] * 12, [*range(36, 40)] + [-1] * 12]
