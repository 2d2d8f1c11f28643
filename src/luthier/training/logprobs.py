"""Log-probabilities of chosen tokens: everything that Luthier trains is a weighted sum of these.

A batch is packed examples; out come the log-probabilities at the trained positions only. The output layer runs
on those positions alone, in chunks, and keeps its gradient instead of its logits, so a tensor of
(tokens x vocabulary) never exists. Knows nothing about losses, steps or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from luthier.data.rendering.renderer import Rendered
from luthier.training.dataset import TokenSequence
from luthier.training.kernels import bindings
from luthier.training.kernels.elementwise import log_softmax_at
from luthier.training.packing import prefix_tree
from luthier.training.packing.packed_layout import Layout

_CHUNK = 256  # positions per pass through the output layer: 256 x 49,152 logits in bfloat16 are 25 MB
_ROWS = 16  # of them at a time while they are float32, so that they stay in the processor's cache


@dataclass(frozen=True)
class PackedBatch:
    """Packed examples. T tokens, N trained positions.

    ids int [1, T]; at int [N]: the place before each trained token, more than once where examples share it;
    targets int [N]; weights float32 [N]; owners int [N]: which example each belongs to.
    """

    ids: torch.Tensor
    layout: Layout
    at: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    owners: torch.Tensor


def pack(examples: Sequence[Rendered | TokenSequence], device: torch.device, *, share: bool = True) -> PackedBatch:
    """One row from many examples; what they share at their beginnings is in it once, unless `share` is off.

    The first token of an example is never a target: nothing predicts it.
    """
    forest = (prefix_tree.shared if share else prefix_tree.separate)([example.ids for example in examples])
    at, targets, weights = [], [], []
    for example, places in zip(examples, forest.places, strict=True):
        found = np.flatnonzero(example.weights)
        found = found[found > 0]
        at.append(places[found - 1])
        targets.append(forest.ids[places[found]])
        weights.append(np.asarray(example.weights, dtype=np.float32)[found])
    owners = np.repeat(np.arange(len(at)), [len(places) for places in at])
    ids, where, wanted, owned = (
        torch.from_numpy(array.astype(np.int64)).to(device)
        for array in (forest.ids, np.concatenate(at), np.concatenate(targets), owners)
    )
    values = torch.from_numpy(np.concatenate(weights)).to(device)
    return PackedBatch(ids[None], Layout(forest, device), where, wanted, values, owned)


def log_probabilities(model: Any, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability float32 [N] with gradient, whether the target was the likeliest token bool [N])."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    path = getattr(model, "luthier_fused", None)
    if path is not None:
        chosen = path.hidden(batch.ids, batch.layout, batch.at)
    else:
        hidden = base.model(
            input_ids=batch.ids, position_ids=batch.layout.positions[None], layout=batch.layout, use_cache=False
        ).last_hidden_state
        chosen = hidden[0].index_select(0, batch.at)
    weight = base.get_output_embeddings().weight
    if weight.requires_grad and torch.is_grad_enabled():
        return _with_weight(chosen, weight, batch.targets)
    found: tuple[torch.Tensor, torch.Tensor] = _TokenLogProbabilities.apply(  # type: ignore[no-untyped-call]
        chosen, weight, batch.targets
    )
    return found


def _with_weight(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_TokenLogProbabilities` where the output layer is trained too: logits are made again on the way back."""

    def part(some: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = functional.linear(some, weight).float()
        found = logits.gather(-1, wanted[:, None])[:, 0]
        return found - logits.logsumexp(-1), found >= logits.amax(-1)

    parts = zip(torch.split(hidden, _CHUNK), torch.split(targets, _CHUNK), strict=True)
    found, best = zip(*(checkpoint(part, *given, use_reentrant=False) for given in parts), strict=True)
    return torch.cat(found), torch.cat(best)


class _TokenLogProbabilities(torch.autograd.Function):
    """log softmax(hidden @ weight.T)[target], with the gradient for `hidden` made on the way forward.

    d log p(target) / d hidden = weight[target] - softmax @ weight. The output layer itself is frozen.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """hidden [N, D], weight [V, D], targets int [N]."""
        gradient = torch.empty_like(hidden) if hidden.requires_grad else None
        found, best = torch.empty(len(targets), device=hidden.device), torch.empty_like(targets, dtype=torch.bool)
        if bindings.supports_amx(hidden, weight) and len(weight) % bindings.AMX_MULTIPLE == 0:
            wanted = 0 if gradient is None else gradient
            bindings.call("head", hidden, hidden, weight, targets, found, best, wanted, *hidden.shape, len(weight))
        else:
            for start in range(0, len(targets), _CHUNK):
                part = slice(start, start + _CHUNK)
                logits = hidden[part].to(weight.dtype) @ weight.T
                found[part], best[part] = log_softmax_at(logits, targets[part], _ROWS)
                if gradient is not None:  # the logits have become shares
                    gradient[part] = (weight[targets[part]] - logits @ weight).to(gradient.dtype)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(best)
        return found, best

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradients[0][:, None].to(gradient.dtype) * gradient if gradient is not None else None), None, None
