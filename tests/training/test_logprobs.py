"""The core against plain transformers: packed, sliced and chunked change nothing but the time."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.data.rendering.renderer import Rendered
from luthier.training import logprobs
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.kernels.attention import packed_attention
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.model import load_model, trainable_parameters
from luthier.training.packing.packed_layout import Layout
from luthier.training.packing.prefix_tree import separate

CPU = torch.device("cpu")


def _examples(*lengths: int) -> list[Rendered]:
    generator = torch.Generator().manual_seed(3)
    examples = []
    for length in lengths:
        ids = torch.randint(0, 256, (length,), generator=generator).tolist()
        examples.append(Rendered(ids, [0.0 if place < length // 3 else 1.0 for place in range(length)]))
    return examples


@pytest.fixture(scope="module")
def model(tiny_base: Path):
    """With an adapter that does something: B starts at zero, so that A would have no gradient."""
    spec = JobSpec(base=str(tiny_base), base_name="tiny", seed=5, precision="float32", device="cpu")
    model = load_model(spec, ComputeDevice.select("cpu", "float32"))
    torch.manual_seed(7)
    for name, parameter in trainable_parameters(model).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    return model


def _loss_and_gradients(model, groups: list[list[Rendered]]) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss over all groups, as one optimizer step sees it."""
    total = sum(sum(example.weights[1:]) for group in groups for example in group)
    model.zero_grad()
    loss = 0.0
    for group in groups:
        batch = pack(group, CPU)
        part = -(log_probabilities(model, batch)[0] * batch.weights).sum() / total
        part.backward()
        loss += part.item()
    return loss, {name: parameter.grad.clone() for name, parameter in trainable_parameters(model).items()}


def _assert_same(left, right, relative: float = 1e-5) -> None:
    assert left[0] == pytest.approx(right[0], rel=relative)
    for name, gradient in left[1].items():
        assert (gradient - right[1][name]).norm() <= relative * gradient.norm() + 1e-9, name


def test_packed_is_separate(model) -> None:
    examples = _examples(5, 40, 17, 9)
    _assert_same(
        _loss_and_gradients(model, [examples]), _loss_and_gradients(model, [[example] for example in examples])
    )


def test_accumulated_is_whole(model) -> None:
    """Micro-batches of unlike sizes: a mean of their means would differ."""
    examples = _examples(30, 6, 6, 22, 41, 13, 8, 19)
    _assert_same(_loss_and_gradients(model, [examples]), _loss_and_gradients(model, [examples[:1], examples[1:]]))


def test_the_loss_is_that_of_plain_transformers(model, tiny_base: Path) -> None:
    examples = _examples(12, 33, 20)
    reference = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    total, weight = 0.0, 0
    with torch.no_grad(), model.disable_adapter():
        for example in examples:
            labels = torch.tensor([t if w else -100 for t, w in zip(example.ids, example.weights, strict=True)])
            count = sum(1 for w in example.weights[1:] if w)
            total += reference(torch.tensor([example.ids]), labels=labels[None]).loss.item() * count
            weight += count
        batch = pack(examples, CPU)
        ours = -log_probabilities(model, batch)[0].mean().item()
    assert ours == pytest.approx(total / weight, rel=1e-5)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_gradients_are_those_of_autograd(model, softcap: float | None) -> None:
    """The output layer's own backward, against softmax cross-entropy written out."""
    batch = pack(_examples(25, 14), CPU)
    base = model.get_base_model()
    hidden = torch.randn(len(batch.targets), base.config.hidden_size, requires_grad=True)
    weight = base.get_output_embeddings().weight.detach()
    values, likeliest = logprobs._TokenLogProbabilities.apply(hidden, weight, batch.targets, softcap)
    (values * batch.weights).sum().backward()
    again = hidden.detach().requires_grad_()
    logits = again @ weight.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    reference = logits.log_softmax(-1).gather(-1, batch.targets[:, None])[:, 0]
    (reference * batch.weights).sum().backward()
    assert torch.allclose(values, reference, atol=1e-5)
    assert torch.allclose(hidden.grad, again.grad, atol=1e-5)
    assert torch.equal(likeliest, logits.argmax(-1) == batch.targets)


def test_chunks_change_nothing(model, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = _examples(60, 31)
    whole = _loss_and_gradients(model, [examples])
    monkeypatch.setattr(logprobs, "_CHUNK", 7)
    _assert_same(whole, _loss_and_gradients(model, [examples]))


@pytest.mark.parametrize("window", [None, 3])
def test_an_attention_sink_is_a_further_key_whose_value_is_zero(window: int | None) -> None:
    torch.manual_seed(0)
    lengths = (9, 5)
    layout = Layout(separate([range(length) for length in lengths]), CPU)
    tensors = [torch.randn(*size, requires_grad=True) for size in ((14, 4, 8), (14, 2, 8), (14, 2, 8), (4,))]
    q, k, v, sinks = tensors
    rows = [tensor.transpose(0, 1)[None] for tensor in (q, k, v)]
    options = {"layout": layout, "sliding_window": window, "s_aux": sinks}
    out = packed_attention(torch.nn.Identity(), *rows, None, **options)[0][0]
    parts = zip(*(tensor.split(lengths) for tensor in (q, k, v)), strict=True)
    expected = torch.cat([_with_sinks(*part, sinks, window) for part in parts])
    assert torch.allclose(out, expected, atol=1e-6)
    grad = torch.randn(14, 4, 8)
    pairs = zip(torch.autograd.grad(out, tensors, grad), torch.autograd.grad(expected, tensors, grad), strict=True)
    for gradient, reference in pairs:
        assert torch.allclose(gradient, reference, atol=1e-5)


def _with_sinks(q, k, v, sinks: torch.Tensor, window: int | None) -> torch.Tensor:
    k, v = (tensor.repeat_interleave(2, 1) for tensor in (k, v))
    visible = torch.ones(len(q), len(q), dtype=torch.bool).tril().triu(1 - (window or len(q)))
    scores = torch.einsum("qhd,khd->hqk", q, k) / 8**0.5
    scores = scores.masked_fill(~visible, -torch.inf)
    column = sinks[:, None, None].expand(-1, len(q), 1)
    return torch.einsum("hqk,khd->qhd", torch.cat([scores, column], -1).softmax(-1)[..., :-1], v)


def test_an_example_learns_nothing_from_its_neighbours(model) -> None:
    """Change one example of a row: the log-probabilities of the others stay as they are, to the bit."""
    first, second = _examples(18, 18)
    other = Rendered(second.ids[::-1], second.weights)
    with torch.no_grad():
        before = log_probabilities(model, pack([first, second], CPU))[0]
        after = log_probabilities(model, pack([first, other], CPU))[0]
    count = sum(1 for weight in first.weights[1:] if weight)
    assert torch.equal(before[:count], after[:count])
    assert not torch.equal(before[count:], after[count:])


def test_weights_scale_what_is_learnt(model) -> None:
    """Weight 0 is the same as not being a target at all."""
    whole = _examples(30)[0]
    half = Rendered(whole.ids, [weight if place < 20 else 0.0 for place, weight in enumerate(whole.weights)])
    cut = Rendered(whole.ids[:20], whole.weights[:20])
    _assert_same(_loss_and_gradients(model, [[half]]), _loss_and_gradients(model, [[cut]]))
