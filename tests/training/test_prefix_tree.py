"""Shared prefixes: what is computed once, and that nothing but the time tells."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from luthier.data.rendering.renderer import Rendered
from luthier.training.batching import TrainingExample, micro_batches
from luthier.training.kernels import attention_parts
from luthier.training.kernels.attention import attend
from luthier.training.kernels.score_rule import ScoreRule
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.packing import packed_layout, prefix_tree
from luthier.training.packing.packed_layout import Layout
from training.test_logprobs import CPU, _assert_same, _loss_and_gradients, model  # noqa: F401 - a fixture


def _tokens(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 256, length).tolist()


def _family() -> list[list[int]]:
    """Three generations: a prefix of all but two, one within it, examples that are prefixes of others, and twins."""
    grand, parent = _tokens(50, 1), _tokens(40, 2)
    inner = [grand + parent + _tokens(length, 10 + length) for length in (5, 30, 9, 0)]
    outer = [grand + _tokens(length, 20 + length) for length in (3, 45)]
    return [*inner, *outer, outer[1], _tokens(4, 30), _tokens(60, 31)]


def _trained(ids: list[int], since: int) -> Rendered:
    return Rendered(ids, [0.0 if place < since else 1.0 + place % 2 for place in range(len(ids))])


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=1, max_size=90), min_size=1, max_size=9))
def test_a_forest_holds_every_example(examples: list[list[int]]) -> None:
    forest = prefix_tree.shared(examples)
    positions = Layout(forest, CPU).positions.numpy()
    for ids, places in zip(examples, forest.places, strict=True):
        assert forest.ids[places].tolist() == ids
        assert positions[places].tolist() == list(range(len(ids)))
    assert len(forest.ids) <= sum(len(ids) for ids in examples)
    assert sum(segment.length for segment in forest.segments) == len(forest.ids)


def test_prefixes_are_shared_where_they_nest() -> None:
    family = _family()
    forest = prefix_tree.shared(family)
    own = 5 + 30 + 9 + 3 + 45 + 4 + 60
    assert len(forest.ids) == 50 + 40 + own
    assert len(prefix_tree.separate(family).ids) == sum(len(ids) for ids in family)
    assert len(prefix_tree.shared([[1, 2, 3], [1, 2, 4]]).ids) == 6  # two tokens are not worth a segment


@pytest.mark.parametrize("trained_since", [1, 45, 70])
def test_shared_is_separate(model, trained_since: int) -> None:  # noqa: F811
    """Also where the shared tokens are themselves trained, by every example that has them."""
    examples = [_trained(ids, min(trained_since, len(ids) - 1)) for ids in _family()]
    assert len(pack(examples, CPU).layout.above) == 2
    together, apart = (
        _loss_and_gradients(model, [examples]),
        _loss_and_gradients(model, [[example] for example in examples]),
    )
    _assert_same(together, apart)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "rule", [ScoreRule(0.3), ScoreRule(0.3, window=500), ScoreRule(0.3, window=20), ScoreRule(0.3, 20, 2.0)]
)
def test_attention_is_that_of_a_dense_mask(
    rule: ScoreRule, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_parts, "_QUERY_BLOCK", 16)
    monkeypatch.setattr(packed_layout, "_QUERIES", 24)
    forest = prefix_tree.shared(_family())
    count = len(forest.ids)
    mask = torch.zeros(count, count, dtype=torch.bool)
    for places in map(torch.from_numpy, forest.places):
        ones = torch.ones(len(places), len(places), dtype=torch.bool)
        mask[places[:, None], places] |= ones.tril() & ones.triu(1 - (rule.window or count))
    torch.manual_seed(0)
    inputs = [torch.randn(count, heads, 16).mul(2).to(dtype).requires_grad_() for heads in (6, 2, 2)]
    gradient = torch.randn(count, 6, 16).to(dtype)
    plain = [tensor.detach().double().requires_grad_() for tensor in inputs]
    queries, keys, values = (tensor.transpose(0, 1).repeat_interleave(6 // tensor.shape[1], 0) for tensor in plain)
    scores = queries @ keys.transpose(1, 2) * rule.scale
    scores = scores if rule.softcap is None else torch.tanh(scores / rule.softcap) * rule.softcap
    reference = (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ values).transpose(0, 1)
    ours = attend(*inputs, Layout(forest, CPU), rule)
    reference.backward(gradient.double())
    ours.backward(gradient)
    error = 1e-5 if dtype == torch.float32 else 1e-2
    assert (ours - reference).norm() < error * reference.norm()
    for tensor, expected in zip(inputs, plain, strict=True):
        assert (tensor.grad - expected.grad).norm() < error * expected.grad.norm()


def _cut(examples: list[Rendered]) -> list[list[TrainingExample]]:
    return list(micro_batches([TrainingExample(index, (example,)) for index, example in enumerate(examples)], 2048))


def test_micro_batches_keep_prefixes_together() -> None:
    """The bound counts what examples have for themselves, so a long prefix is not computed once per few of them."""
    first, second = _tokens(1900, 1), _tokens(1900, 2)
    examples = [_trained([*prefix, *_tokens(60, seed)], 1900) for seed in range(8) for prefix in (first, second)]
    groups = [[example.sequences[0] for example in group] for group in _cut(examples)]
    assert sorted(map(len, groups)) == [8, 8]
    assert all(len({tuple(sequence.ids[:1900]) for sequence in group}) == 1 for group in groups)
    apart = _cut([_trained(_tokens(300, seed), 10) for seed in range(20)])
    assert [len(group) for group in apart] == [6, 6, 6, 2]


def test_the_kernel_for_gpus_takes_what_it_is_given() -> None:
    """Shapes alone: a processor cannot run it."""
    q, k = (torch.empty(2, 40, heads, 16, dtype=torch.bfloat16, device="meta") for heads in (6, 2))
    hidden = torch.ones(40, 40, dtype=torch.bool, device="meta").triu(1)
    for mask in ({"causal": True}, {"hidden": hidden}):
        mixed, sums = attention_parts.attend_part(q, k, k, scale=0.25, **mask)
        assert (mixed.shape, sums.shape) == (q.shape, q.shape[:3])


def test_the_loss_with_prefixes_is_that_of_plain_transformers(model, tiny_base: Path) -> None:  # noqa: F811
    examples = [_trained(ids, 3) for ids in _family()]
    reference = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    total = 0.0
    with torch.no_grad(), model.disable_adapter():
        batch = pack(examples, CPU)
        ours = -(log_probabilities(model, batch)[0] * batch.weights).sum().item()
        for example in examples:
            distribution = reference(torch.tensor([example.ids])).logits[0, :-1].log_softmax(-1)
            logprobs = distribution.gather(-1, torch.tensor(example.ids[1:])[:, None])[:, 0]
            total -= (logprobs * torch.tensor(example.weights[1:])).sum().item()
    assert ours == pytest.approx(total, rel=1e-5)
