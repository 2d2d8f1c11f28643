"""One switch for all devices. No GPU is there: torch's `meta` device, which refuses tensors of others, stands in."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from families import FAMILIES, make_base
from luthier.arch.model_config import load_config
from luthier.data.rendering.renderer import Rendered
from luthier.devices import DEVICES, select_device
from luthier.hardware import has_bfloat16
from luthier.inference.engines.model_loading import hardware_of
from luthier.inference.options import EngineOptions
from luthier.native import dtype_choice
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.kernels.attention import NAME
from luthier.training.kernels.attention_parts import attend_part, attend_plainly
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.lora import adapter, fused_decoder
from luthier.training.output_head import OutputHead
from source_tree import FILES, relative

META = torch.device("meta")


@pytest.mark.parametrize(
    ("device", "has_cuda", "has_bfloat16", "expected"),
    [
        ("auto", True, True, ("cuda", "bfloat16")),
        ("auto", False, False, ("cpu", "float32")),
        ("cuda", True, False, ("cuda", "float32")),
        ("cpu", True, True, ("cpu", "bfloat16")),
        ("mps", False, True, ("mps", "bfloat16")),
    ],
)
def test_auto_takes_a_gpu_and_the_fast_dtype(
    device: str, has_cuda: bool, has_bfloat16: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.devices._has_gpu_driver", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bfloat16)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: has_bfloat16)
    monkeypatch.setattr(type(DEVICES["cpu"]), "has_fast_bfloat16", lambda _: has_bfloat16)
    assert select_device(device, "auto") == expected
    assert select_device(device, "float32") == (expected[0], "float32")


@pytest.mark.parametrize(
    ("tier", "precision", "speedup", "base_bytes", "expected", "reason"),
    [
        ("avx512", "auto", 0.21, 0, torch.float32, "measured"),
        ("avx512-bf16", "auto", 0.6, 0, torch.float32, "measured"),
        ("avx512-bf16", "auto", 2.2, 0, torch.bfloat16, "measured"),
        ("avx512", "bfloat16", 0.21, 0, torch.bfloat16, "setting"),
        ("avx512", "auto", 0.21, 2**50, torch.bfloat16, "memory"),
        ("amx", "auto", 0.21, 0, torch.bfloat16, "hardware"),
    ],
)
def test_training_and_serving_use_the_dtype_in_which_the_cpu_multiplies_faster(
    tier: str,
    precision: str,
    speedup: float,
    base_bytes: int,
    expected: torch.dtype,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is known before the first of them says how it was chosen, or that it will be measured."""
    monkeypatch.setattr(type(DEVICES["cpu"]), "has_fast_bfloat16", lambda _: True)
    monkeypatch.setattr(dtype_choice, "cpu_tiers", lambda: [SimpleNamespace(name=tier)])
    monkeypatch.setattr(dtype_choice, "count_parameters", lambda _: base_bytes)
    monkeypatch.setattr(dtype_choice, "_bf16_speedup", lambda: speedup)
    settings, base = ("cpu", precision, tmp_path), Path("base")
    first_choice = dtype_choice.known_dtype(base, *settings)
    assert first_choice.reason == ("unmeasured" if reason == "measured" else reason)
    options = EngineOptions(device="cpu", precision=precision, cache=tmp_path)
    assert hardware_of(options, base) == (torch.device("cpu"), expected)
    monkeypatch.setattr(dtype_choice, "_bf16_speedup", lambda: 1 / speedup)  # nobody measures again
    spec = JobSpec("base", "base", seed=1, device="cpu", precision=precision, cache=str(tmp_path))
    assert ComputeDevice.of_job(spec).dtype == expected
    later_choice = dtype_choice.known_dtype(base, *settings)
    assert (later_choice.reason, getattr(torch, later_choice.dtype)) == (reason, expected)


def test_the_speed_of_products_is_measured_without_a_trace() -> None:
    threads = torch.get_num_threads()
    assert dtype_choice._bf16_speedup() > 0
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(has_bfloat16() is None, reason="only oneDNN can tell here")
def test_bfloat16_is_fast_where_onednn_says_so() -> None:
    assert has_bfloat16() == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (7, 9))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4)
    assert (DEVICES["cuda"].free_bytes(), DEVICES["cuda"].peak_bytes(), DEVICES["mps"].free_bytes()) == (7, 5, 8)


def test_devices_are_told_apart_in_one_place() -> None:
    marks = ("torch.cuda", "torch.mps", "backends.mps")
    match = [relative(path) for path in FILES if any(mark in path.read_text(encoding="utf-8") for mark in marks)]
    assert match == ["devices.py"]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("has_hidden", [True, False])
def test_attention_of_any_device_is_that_of_the_cpu(causal: bool, has_hidden: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 12, heads, 8) for heads in (4, 2, 2))
    hidden = torch.rand(12, 12).triu(1) > 0.5 if has_hidden and not causal else None
    options = {"scale": 0.3, "causal": causal, "hidden": hidden}
    for entry, other in zip(attend_plainly(q, k, v, **options), attend_part(q, k, v, **options), strict=True):
        assert torch.allclose(entry, other, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3 with a short window", "olmo2", "phi"])
def test_a_step_leaves_no_tensor_on_the_cpu(
    family: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through fused layers, and through transformers' code (Phi): forward and backward, with shared prefixes."""
    for name, stand_in in (("autocast", lambda *_, **__: nullcontext()), ("equal", lambda *_: True)):
        monkeypatch.setattr(torch, name, stand_in)  # which `meta` does not know
    base = make_base(tmp_path, tiny_base, FAMILIES[family], spread=0.2)
    spec = JobSpec(base=str(base), base_name="tiny", seed=1, device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(base, config=load_config(base), attn_implementation=NAME)
    head = OutputHead.of(plain.eval())
    model = adapter.attach(plain, spec).to(META).eval()
    model.luthier_fused, model.luthier_head = fused_decoder.fuse(model), head
    model.luthier_separate_rows = None
    assert (model.luthier_fused is None) == (family == "phi")
    ids = [index % 200 for index in range(40)]
    examples = [Rendered([*ids, *range(length)], [0.0] * 40 + [1.0] * length) for length in (30, 3)]
    logprobs, _ = log_probabilities(model, pack(examples, META))
    logprobs.sum().backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert logprobs.device == META
    assert all(parameter.grad is not None and parameter.grad.device == META for parameter in trained)
