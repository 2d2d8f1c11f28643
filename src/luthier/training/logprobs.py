"""Log-probabilities of chosen tokens: everything that Luthier trains is a weighted sum of these.

A batch is packed examples; the result is log-probabilities at the trained positions only. Fused chunked cross-entropy:
the output layer runs on those positions alone, in chunks, and computes its gradient in the forward pass, so a tensor
of tokens x vocabulary never exists. Losses and optimizer steps are built on top of this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from luthier.data.rendering.renderer import Rendered
from luthier.training.dataset import TokenSequence
from luthier.training.kernels import bindings
from luthier.training.kernels.elementwise import log_softmax_at
from luthier.training.output_head import OutputHead
from luthier.training.packing import prefix_tree
from luthier.training.packing.packed_layout import Layout

_CHUNK = 256  # positions per pass through the output layer: 256 x 49,152 logits in bfloat16 are 25 MB
_ROWS = 16  # rows at a time while they are float32, so that they stay in the CPU's cache


@dataclass(frozen=True)
class PackedBatch:
    """Packed examples: T tokens, N trained positions.

    ids int [1, T]; logit_indices int [N]: the token before each target, repeated where examples share it;
    targets int [N]; weights float32 [N]; owners int [N]: the example of each target.
    """

    ids: torch.Tensor
    layout: Layout
    logit_indices: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    owners: torch.Tensor


def pack(
    examples: Sequence[Rendered | TokenSequence], device: torch.device, *, share_prefixes: bool = True
) -> PackedBatch:
    """Pack examples into one row, with common prefixes only once unless `share_prefixes` is false.

    The first token of an example is never a target: nothing predicts it.
    """
    ids = [example.ids for example in examples]
    forest = prefix_tree.shared(ids) if share_prefixes else prefix_tree.separate(ids)
    logit_indices, targets, weights = [], [], []
    for example, places in zip(examples, forest.places, strict=True):
        trained = np.flatnonzero(example.weights)
        trained = trained[trained > 0]
        logit_indices.append(places[trained - 1])
        targets.append(forest.ids[places[trained]])
        weights.append(np.asarray(example.weights, dtype=np.float32)[trained])
    owners = np.repeat(np.arange(len(targets)), [len(part) for part in targets])

    def to_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(device)

    return PackedBatch(
        ids=to_device(forest.ids)[None],
        layout=Layout(forest, device),
        logit_indices=to_device(np.concatenate(logit_indices)),
        targets=to_device(np.concatenate(targets)),
        weights=torch.from_numpy(np.concatenate(weights)).to(device),
        owners=to_device(owners),
    )


def log_probabilities(model: Any, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability float32 [N] with gradient, whether the target was the likeliest token bool [N]).

    `model`: as `luthier.training.model.load_model` returns it.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if model.luthier_fused is not None:
        hidden = model.luthier_fused.hidden(batch.ids, batch.layout, batch.logit_indices)
    else:
        states = _separate_states(base, batch) if model.luthier_separate_rows else _packed_states(base, batch)
        hidden = states.index_select(0, batch.logit_indices)
    layer, head = base.get_output_embeddings(), model.luthier_head
    trained = layer.weight.requires_grad and torch.is_grad_enabled()
    if trained or layer.bias is not None:
        return _through_logits(hidden, layer, head, batch.targets)
    hidden = hidden if head.scale == 1 else hidden * head.scale
    outputs: tuple[torch.Tensor, torch.Tensor] = _TokenLogProbabilities.apply(  # type: ignore[no-untyped-call]
        hidden, layer.weight, batch.targets, head.softcap
    )
    return outputs


def _packed_states(base: Any, batch: PackedBatch) -> torch.Tensor:
    """The last hidden states [T, D] of a row of many examples."""
    positions = batch.layout.positions[None]
    outputs = base.base_model(input_ids=batch.ids, position_ids=positions, layout=batch.layout, use_cache=False)
    states: torch.Tensor = outputs.last_hidden_state[0]
    return states


def _separate_states(base: Any, batch: PackedBatch) -> torch.Tensor:
    """The last hidden states [T, D], computed example by example. Raises ValueError for examples that share a
    prefix."""
    if batch.layout.above:
        raise ValueError("examples with a row of their own cannot share a prefix")
    rows = [batch.ids[:, start:stop] for start, stop, *_ in batch.layout.segments.tolist()]
    return torch.cat([base.base_model(input_ids=row, use_cache=False).last_hidden_state[0] for row in rows])


def _through_logits(
    hidden: torch.Tensor, layer: Any, head: OutputHead, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_TokenLogProbabilities`, for any output layer, also a trained one: logits are recomputed backward."""

    def chunk(rows: torch.Tensor, row_targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head.logits(rows, layer)
        target_logits = logits.gather(-1, row_targets[:, None])[:, 0]
        return target_logits - logits.logsumexp(-1), target_logits >= logits.amax(-1)

    chunks = zip(torch.split(hidden, _CHUNK), torch.split(targets, _CHUNK), strict=True)
    logprobs, is_top = zip(*(checkpoint(chunk, *rows, use_reentrant=False) for rows in chunks), strict=True)
    return torch.cat(logprobs), torch.cat(is_top)


class _TokenLogProbabilities(torch.autograd.Function):
    """log softmax(hidden @ weight.T)[target], with the gradient for `hidden` computed in the forward pass.

    d log p(target) / d hidden = (one-hot(target) - softmax) @ weight, where a soft cap multiplies each word's factor by
    1 - tanh^2. The output layer itself is frozen.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, softcap: float | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """hidden [N, D], weight [V, D], targets int [N]."""
        gradient = torch.empty_like(hidden) if hidden.requires_grad else None
        logprobs = torch.empty(len(targets), device=hidden.device)
        is_top = torch.empty_like(targets, dtype=torch.bool)
        if bindings.supports_amx(hidden, weight) and len(weight) % bindings.AMX_MULTIPLE == 0:
            outputs = logprobs, is_top, 0 if gradient is None else gradient
            sizes = *hidden.shape, len(weight)
            bindings.call("lm_head", hidden, hidden, weight, targets, *outputs, float(softcap or 0), *sizes)
        else:
            for start in range(0, len(targets), _CHUNK):
                rows = slice(start, start + _CHUNK)
                logits = hidden[rows].to(weight.dtype) @ weight.T
                tanh = None if softcap is None else torch.tanh(logits.div_(softcap))
                logits = logits if tanh is None or softcap is None else tanh * softcap
                logprobs[rows], is_top[rows] = log_softmax_at(logits, targets[rows], _ROWS)
                if gradient is not None:
                    gradient[rows] = _hidden_gradient(logits, targets[rows], weight, tanh).to(gradient.dtype)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(is_top)
        return logprobs, is_top

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        scaled = None if gradient is None else gradients[0][:, None].to(gradient.dtype) * gradient
        return scaled, None, None, None


def _hidden_gradient(
    probabilities: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, tanh: torch.Tensor | None
) -> torch.Tensor:
    """The gradient of log-probabilities for hidden states [N, D], given `probabilities` [N, V], which is overwritten.

    `tanh` [N, V]: of the capped logits, where they are capped.
    """
    if tanh is None:
        return weight[targets] - probabilities @ weight
    slopes = tanh.square_().neg_().add_(1)
    target_slopes = slopes.gather(-1, targets[:, None])
    return target_slopes * weight[targets] - probabilities.mul_(slopes) @ weight
