"""Every family, and in whatever rows: losses and gradients of a step are those of plain transformers, one by one."""

from pathlib import Path

import pytest
import torch

from families import FAMILIES, make_base
from luthier.data.rendering.renderer import Rendered
from luthier.training.batching import TrainingExample
from luthier.training.forward_pass import ForwardPass
from luthier.training.job_spec import JobSpec
from luthier.training.model import TrainedModel

_PREFIX = [place * 7 % 200 for place in range(40)]  # long enough to be shared


def examples_of_one_prefix() -> list[TrainingExample]:
    """Of one prefix, so that packed rows share it."""
    examples = []
    for index, length in enumerate((5, 21, 11)):
        ids = _PREFIX + [(place * 13 + index * 31) % 200 for place in range(length)]
        examples.append(TrainingExample(index, (Rendered(ids, [0.0] * len(_PREFIX) + [1.0] * length),)))
    return examples


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_is_that_of_single_examples(tiny_base: Path, tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.2)
    spec = JobSpec(base=str(base), base_name="tiny", seed=5, precision="float32", device="cpu")
    model = TrainedModel(spec)
    torch.manual_seed(7)
    for parameter in model.parameters.values():
        parameter.data.normal_(0, 0.1)
    examples = examples_of_one_prefix()

    loss = torch.zeros(())
    for micro in ForwardPass(model, 512).micro_batches(examples):
        loss = loss - micro.logprobs.sum()
    loss.backward()
    gradients = {key: parameter.grad for key, parameter in model.parameters.items()}
    model.module.zero_grad()

    plain = TrainedModel(spec).module if model.separate_rows else _with_plain_attention(model)
    for key, parameter in plain.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(model.parameters[key].data)
    expected = torch.zeros(())
    for example in examples:
        ids = torch.tensor([example.sequences[0].ids])
        logprobs = plain(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        targets = torch.arange(len(_PREFIX), ids.shape[1])
        expected = expected - logprobs[targets - 1, ids[0, targets]].sum()
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for key, parameter in plain.named_parameters():
        if parameter.requires_grad:
            assert (gradients[key] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm() + 1e-7, key


def _with_plain_attention(model: TrainedModel):
    """The same model on transformers' own attention."""
    model.module.get_base_model().set_attn_implementation("eager")
    return model.module
