"""Compiled kernels against their PyTorch versions, which run where there is no compiler."""

import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch

import luthier.native
from luthier.catalogue import Catalogue
from luthier.hardware import cpu_features
from luthier.inference.registry import select_engine
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store
from luthier.training.kernels import attention, bindings, elementwise, lora_linear
from luthier.training.kernels.elementwise import Activation
from luthier.training.kernels.score_rule import ScoreRule
from luthier.training.logprobs import _TokenLogProbabilities, log_probabilities, pack
from luthier.training.packing import prefix_tree
from luthier.training.packing.packed_layout import Layout
from luthier.types.plain_settings import DEFAULT_CACHE
from training.jobs import train, write_job
from training.test_logprobs import CPU, _assert_same, _loss_and_gradients, model  # noqa: F401 - a fixture
from training.test_prefix_tree import _family, _trained

needs_compiler = pytest.mark.skipif(bindings.library() is None, reason="no C++ compiler with OpenMP")
DTYPES = pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])


def _both(monkeypatch: pytest.MonkeyPatch, run):
    """The results of `run`: compiled, and in PyTorch."""
    compiled = run()
    with monkeypatch.context() as patched:
        patched.setattr(bindings, "library", lambda: None)
        return compiled, run()


def _assert_near(compiled, plain, error: float) -> None:
    for entry, other in zip(compiled, plain, strict=True):
        assert (entry.double() - other.double()).norm() <= error * other.double().norm()


@needs_compiler
@DTYPES
@pytest.mark.parametrize("width", [7, 64, 100])
def test_elementwise(dtype: torch.dtype, error: float, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, weight, gradient = (torch.randn(shape).mul(3).to(dtype) for shape in ((21, width), (width,), (21, width)))
    weight = weight.float()
    gate_up, heads, angles = (
        torch.randn(shape).mul(9).to(dtype) for shape in ((21, 2 * width), (21, 3, 14), (21, 1, 7))
    )
    strided = torch.cat([gradient, gradient], 1)[:, :width]

    def run() -> list[torch.Tensor]:
        normed, rotated = torch.empty_like(strided), heads.clone()
        inverse_rms = elementwise.rms_norm(x, weight, 1e-5, normed)
        elementwise.apply_rotary(rotated, angles.cos(), angles.sin())
        restored = rotated.clone()
        elementwise.apply_rotary(restored, angles.cos(), angles.sin(), inverse=True)
        partial = heads.clone()
        elementwise.apply_rotary(
            partial[..., :8], angles[..., :4].cos().contiguous(), angles[..., :4].sin().contiguous()
        )
        return [
            *(normed, inverse_rms, rotated, restored, partial),
            elementwise.rms_norm_recompute(x, weight, inverse_rms),
            *(elementwise.rms_norm_backward(strided, x, weight, inverse_rms, other) for other in (gradient, None)),
            *(elementwise.gated(gate_up, activation) for activation in Activation),
            *chain(*(elementwise.gated_backward(strided, gate_up, activation) for activation in Activation)),
        ]

    compiled, plain = _both(monkeypatch, run)
    _assert_near(compiled, plain, error)
    assert torch.allclose(compiled[3].float(), heads.float(), atol=0.1, rtol=error)


@needs_compiler
def test_bfloat16_is_rounded_as_in_pytorch() -> None:
    """To the nearest, ties to even, which products of two numbers with eight bits often are; also infinities, NaN, and
    numbers at the end of a row that fill no register."""
    torch.manual_seed(0)
    x = torch.randn(500, 1, 40).mul(3).bfloat16()
    x[..., 20:] = 0
    x[:4, 0, 3] = torch.tensor([torch.inf, -torch.inf, torch.nan, 3e38])
    cos = torch.rand(500, 1, 20).add(0.5).bfloat16()
    rounded = (x[..., :20].float() * cos.float()).bfloat16()
    elementwise.apply_rotary(x, cos, torch.zeros_like(cos))
    assert torch.equal(x[..., :20].nan_to_num(7, 8, 9), rounded.nan_to_num(7, 8, 9))


@needs_compiler
@DTYPES
def test_log_softmax(dtype: torch.dtype, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 303).mul(20).to(dtype)
    targets = torch.cat([logits[:4].argmax(-1), torch.arange(5)])

    def run() -> list[torch.Tensor]:
        probabilities = logits.clone()
        logprobs, is_argmax = elementwise.log_softmax_at(probabilities, targets, 4)
        return [logprobs, is_argmax, probabilities]

    compiled, plain = _both(monkeypatch, run)
    _assert_near(compiled, plain, error)
    assert compiled[1].sum() == 4
    assert torch.allclose(compiled[2].float(), logits.float().softmax(-1), atol=error)


@needs_compiler
@DTYPES
@pytest.mark.parametrize(
    ("width", "window", "softcap", "more"),
    [
        *((12, None, None, 0), (64, None, None, 0), (80, None, None, 0), (64, 90, None, 0), (64, 5, 2.0, 0)),
        *((64, None, 2.0, 0), (64, None, None, 40), (80, 5, 2.0, 40)),
    ],
)
def test_attention(
    dtype: torch.dtype,
    error: float,
    width: int,
    window: int | None,
    softcap: float | None,
    more: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trees of prefixes, with segments shorter and longer than a block; `more`: examples that share nothing."""
    long, short_rows = list(range(150)), [[1000 + number, *range(number)] for number in range(more)]
    layout = Layout(prefix_tree.shared([*_family(), long + [1] * 70, long + [2] * 130, *short_rows]), CPU)
    count = int(layout.segments[:, 1].max())
    torch.manual_seed(0)
    row, gradient = torch.randn(count, 10, width).to(dtype), torch.randn(count, 6, width).to(dtype)
    row[:, :8] *= 2
    q, k, v = row.split_with_sizes([6, 2, 2], 1)

    def run() -> list[torch.Tensor]:
        rule = ScoreRule(0.3, window, softcap)
        out, logsumexp = attention.forward(q, k, v, layout, rule)
        gradients = attention.backward(gradient, q, k, v, out, logsumexp, layout, rule)
        return [out, logsumexp, *gradients.split([6, 2, 2], 1)]

    assert len(layout.above) == 3
    _assert_near(*_both(monkeypatch, run), error)


@needs_compiler
@DTYPES
@pytest.mark.parametrize("rank", [0, 32, 64])
@pytest.mark.parametrize("tokens", [1, 33, 300])
def test_projection(dtype: torch.dtype, error: float, rank: int, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More panels than fit into a core's cache, and row counts that are no multiple of a tile."""
    torch.manual_seed(0)
    x, residual, gradient = (torch.randn(tokens, size).to(dtype) for size in (96, 4160, 4160))
    a, weight = torch.randn(rank, 96).to(dtype), torch.randn(4160, 96 + rank).to(dtype)

    def run() -> list[torch.Tensor]:
        out, low = lora_linear.lora_linear(x, a, weight, residual)
        rows = lora_linear.empty_inputs(x, 96, weight)
        rows[:, :96] = x
        assert torch.equal(lora_linear.lora_linear(rows, a, weight, residual)[0], out)
        grad_x, grad_low = lora_linear.lora_linear_backward(gradient, a, weight)
        grad_factors = lora_linear.lora_factors_backward(
            gradient, x, x[:, :rank].contiguous(), gradient[:, :rank].contiguous()
        )
        return [lora_linear.lora_linear(x, a, weight, None)[0], out, low, grad_x, grad_low, *grad_factors]

    _assert_near(*_both(monkeypatch, run), error)


@needs_compiler
@DTYPES
@pytest.mark.parametrize(("rows", "softcap"), [(1, None), (33, None), (600, None), (33, 20.0)])
def test_output_layer(
    dtype: torch.dtype, error: float, rows: int, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows and words than one block, and row counts that are no multiple of a tile; against float64."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(rows, 64).to(dtype).requires_grad_(), torch.randn(4192, 64).div(4).to(dtype)
    exact = hidden.detach().double().requires_grad_()
    logits = exact @ weight.double().T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    targets = torch.randint(4192, (rows,))
    targets[::3] = logits[::3].argmax(-1)

    def run() -> list[torch.Tensor]:
        logprobs, is_argmax = _TokenLogProbabilities.apply(hidden, weight, targets, softcap)
        return [logprobs, is_argmax, *torch.autograd.grad(logprobs.sum(), hidden)]

    expected = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(expected.sum(), exact)
    both = _both(monkeypatch, run)
    for results in both:
        _assert_near(results, [expected.detach(), logits.argmax(-1) == targets, gradient], error)
    with torch.no_grad():
        assert torch.equal(_TokenLogProbabilities.apply(hidden, weight, targets, softcap)[0], both[0][0])


@needs_compiler
def test_losses_and_gradients(model, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    examples = [_trained(ids, len(ids) // 2) for ids in _family()]
    _assert_same(*_both(monkeypatch, lambda: _loss_and_gradients(model, [examples])))


@needs_compiler
def test_nan_stays_nan(model) -> None:  # noqa: F811
    """A diverged job must show, in bfloat16 too, where rounding could turn NaN into a number."""
    bad = torch.full((3, 32), float("nan"), dtype=torch.bfloat16)
    assert elementwise.gated(torch.cat([bad, bad], 1), Activation.SILU).isnan().all()
    assert lora_linear.lora_linear(bad, bad.new_zeros(32, 32), bad.new_zeros(64, 64), None)[0].isnan().all()
    logprobs, _ = elementwise.log_softmax_at(bad.clone(), torch.zeros(3, dtype=torch.long), 4)
    assert logprobs.isnan().all()
    logprobs, _ = _TokenLogProbabilities.apply(bad, torch.zeros(64, 32, dtype=torch.bfloat16), torch.zeros(3).long())
    assert logprobs.isnan().all()
    layout = Layout(prefix_tree.separate([range(3)]), CPU)
    q = bad[:, None]
    out, logsumexp = attention.forward(q, q, q, layout, ScoreRule(1.0))
    assert out.isnan().all()
    assert attention.backward(q, q, q, q, out, logsumexp, layout, ScoreRule(1.0)).isnan().all()


def test_without_a_compiler_pytorch_computes(model, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def broken(*_: object) -> None:
        raise subprocess.CalledProcessError(1, "g++")

    monkeypatch.setattr(luthier.native, "_compile", broken)
    monkeypatch.setattr(luthier.native, "_fingerprint", lambda *_: "never compiled")
    bindings.library.cache_clear()
    try:
        assert bindings.library() is None
        logprobs, _ = log_probabilities(model, pack([_trained(_family()[0], 9)], CPU))
    finally:
        bindings.library.cache_clear()
    assert logprobs.isfinite().all()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The paths that a compiler writes to, which is not run."""
    paths: list[Path] = []

    def compile_(_: str, __: tuple[str, ...], ___: Path, path: Path) -> None:
        paths.append(path)
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr(luthier.native, "_compile", compile_)
    yield paths
    bindings.use_cache(DEFAULT_CACHE)


@needs_compiler
def test_it_is_compiled_once(tmp_path: Path, compiled: list[Path]) -> None:
    bindings.use_cache(tmp_path)
    for _ in range(2):
        bindings.library()
        bindings.library.cache_clear()
    assert [path.parent for path in compiled] == [tmp_path / "kernels"]


@needs_compiler
def test_a_job_compiles_into_the_cache_of_its_server(tiny_base: Path, tmp_path: Path, compiled: list[Path]) -> None:
    train(write_job(tmp_path / "job", tiny_base, n_epochs=1, cache=str(tmp_path / "cache")))
    assert [path.parent for path in compiled] == [tmp_path / "cache" / "kernels"]


@needs_compiler
def test_an_engine_compiles_into_the_cache_of_its_server(
    tiny_base: Path, tmp_path: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=tmp_path / "data", cache=tmp_path / "cache", device="cpu", precision="bfloat16")
    tmp_path.joinpath("cache").mkdir()
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "another"))
    app = create_app(settings, Store(settings.data), Catalogue(settings.cache))
    assert select_engine(tiny_base, app.state.luthier.engines._options).name != "native"  # the file is empty
    assert {path.parent for path in compiled} == {tmp_path / "cache" / "kernels"}


@needs_compiler
def test_prebuilt_libraries_need_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a wheel has them, with their OpenMP runtime: that of the fastest tier is taken, or of the tier asked for."""
    source = tmp_path / "threads.cpp"
    source.write_text(
        "#include <omp.h>\n"
        'extern "C" int width() {\n'
        "#ifdef __AVX2__\n  int width = 8;\n#else\n  int width = 4;\n#endif\n"
        "#pragma omp parallel\n  { if (omp_get_num_threads() < 1) width = 0; }\n  return width;\n}\n"
    )
    folder = tmp_path / "prebuilt"
    luthier.native.prebuild([source], folder)
    assert (folder / "libgomp.so.1").is_file()
    monkeypatch.setattr(luthier.native, "PREBUILT", folder)
    monkeypatch.setenv("PATH", "")
    fastest = luthier.native.load_library(tmp_path, source)
    assert fastest
    assert fastest.width() == (8 if "avx2" in cpu_features() else 4)
    if lowest := luthier.native.load_library(tmp_path, source, tier="baseline"):
        assert lowest.width() == 4
    assert luthier.native.load_library(tmp_path, tmp_path / "another.cpp") is None
    (folder / "broken-baseline.so").write_bytes(b"no library")
    assert luthier.native.load_library(tmp_path, tmp_path / "broken.cpp", tier="baseline") is None


def test_a_compiler_that_cannot_run_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "g++").write_bytes(b"\x7fELF no program")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert luthier.native.load_library(tmp_path, *bindings._SOURCES) is None
    assert "kernels.cpp cannot be compiled: [Errno 8] Exec format error" in caplog.text
