"""Models of the Llama family with LoRA on all or some linear layers, written out for training.

Computes what transformers and PEFT compute with the same weights. It is faster because the projections that read
the same tensor are one matrix product, LoRA's second factor is further columns of it, nothing is kept that is cheap
to make again, and gradients of frozen weights never exist. `adapt` says whether a model can take this path; every
other model trains through transformers' own code.
"""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.utils.checkpoint import checkpoint

from luthier.arch import Backend, DecoderSpec, Feature
from luthier.arch.projections import PROJECTIONS
from luthier.training.kernels import attention, bindings, elementwise, lora_linear
from luthier.training.packing.packed_layout import Layout

BACKEND = Backend(
    "the fused training path",
    frozenset(
        {
            Feature.GROUPED_QUERY_HEADS,
            Feature.HEAD_DIM,
            Feature.QKV_BIAS,
            Feature.LINEAR_ROPE,
            Feature.LLAMA3_ROPE,
            Feature.DYNAMIC_ROPE,
            Feature.YARN_ROPE,
            Feature.LONGROPE,
            Feature.TIED_EMBEDDINGS,
        }
    ),
)
_log = logging.getLogger(__name__)


class Projection:
    """Linear layers that read one tensor, as one product: D in, O out in all, R the sum of their ranks, rounded up.

    `parameters`: A and B of each layer that has an adapter. `weight` [O, D + R]: the base weights
    and beside them, on the block diagonal, scaling x B. What it multiplies is [x, A x]. The base layers' own weights
    become views of it.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        bases = [_base(layer) for layer in layers]
        self._adapted = [layer for layer in layers if isinstance(layer, Linear)]
        self._factors = [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in self._adapted]
        self.parameters = [parameter for pair in self._factors for parameter in pair]
        self._inputs = bases[0].in_features
        self._places: list[tuple[slice, slice, float]] = []  # of each adapter in O and in R, and its scaling
        row = rank = 0
        for layer, base in zip(layers, bases, strict=True):
            if isinstance(layer, Linear):
                rows, columns = slice(row, row + base.out_features), slice(rank, rank + layer.r["default"])
                self._places.append((rows, columns, layer.scaling["default"]))
                rank = columns.stop
            row += base.out_features
        self._rank = -(-rank // bindings.AMX_MULTIPLE) * bindings.AMX_MULTIPLE
        like = bases[0].weight
        self.weight = torch.zeros(row, self._inputs + self._rank, dtype=like.dtype, device=like.device)
        for base, part in zip(bases, self.weight.split_with_sizes([b.out_features for b in bases]), strict=True):
            part[:, : self._inputs] = base.weight.data
            base.weight.data = part[:, : self._inputs]
        biases = [base.bias for base in bases if base.bias is not None]
        self.bias = torch.cat([bias.data for bias in biases]) if biases else None

    def load(self) -> torch.Tensor:
        """Puts the adapters' B in place (zeros while adapters are switched off); returns all of A [R, D]."""
        made = self.weight.new_zeros(self._rank, self._inputs)
        beside = self.weight[:, self._inputs :]
        for (rows, columns, scaling), (a, b) in zip(self._places, self._factors, strict=True):
            made[columns] = a
            beside[rows, columns] = 0 if self._adapted[0].disable_adapters else b * scaling
        return made

    def forward(
        self, x: torch.Tensor, a: torch.Tensor, residual: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x [T, D] -> (the outputs side by side [T, O], plus `residual`; A x [T, R])."""
        out, low = lora_linear.project(x, a, self.weight, residual)
        return (out if self.bias is None else out.add_(self.bias)), low

    def of_input(self, gradient: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the gradient of x [T, D], that of A x [T, R]), given that of the outputs."""
        return lora_linear.project_backward(gradient, a, self.weight)

    def of_parameters(
        self, gradient: torch.Tensor, x: torch.Tensor, low: torch.Tensor, of_low: torch.Tensor
    ) -> list[torch.Tensor]:
        """The gradients of `parameters`."""
        if not self._places:
            return []
        of_a, of_b = lora_linear.factors_backward(gradient, x, low, of_low)
        made = ((of_a[columns], of_b[columns, rows].T * scaling) for rows, columns, scaling in self._places)
        return [gradient for pair in made for gradient in pair]


class Heads:
    """H heads of width K in G groups, and the rotary angles of a batch."""

    def __init__(self, config: Any, cos: torch.Tensor, sin: torch.Tensor) -> None:
        self.count, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.width = cos.shape[-1]
        self.scale = self.width**-0.5
        self.cos, self.sin = (angles[0, :, None, : self.width // 2].contiguous() for angles in (cos, sin))

    def parts(self, split: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[T, H + 2 G, K] -> queries, keys, values."""
        q, k, v = split.split_with_sizes([self.count, self.groups, self.groups], 1)
        return q, k, v


class _Layer:
    """One layer: T tokens of width D in and out. `parameters`: those of its four projections, in their order."""

    def __init__(self, layer: Any) -> None:
        attend, dense = layer.self_attn, layer.mlp
        self._norms = layer.input_layernorm, layer.post_attention_layernorm
        self._qkv = Projection([attend.q_proj, attend.k_proj, attend.v_proj])
        self._out = Projection([attend.o_proj])
        self._gate_up = Projection([dense.gate_proj, dense.up_proj])
        self._down = Projection([dense.down_proj])
        self._projections = self._qkv, self._out, self._gate_up, self._down
        self.parameters = [parameter for one in self._projections for parameter in one.parameters]

    def forward(self, x: torch.Tensor, heads: Heads, layout: Layout) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """x [T, D] -> (the same after this layer, what `backward` needs)."""
        a = [projection.load() for projection in self._projections]
        normed, factors = _normalise(x, self._norms[0])
        qkv, low_qkv = self._qkv.forward(normed, a[0])
        split = qkv.view(len(x), -1, heads.width)
        elementwise.rotate(split[:, : -heads.groups], heads.cos, heads.sin)
        mixed, sums = attention.forward(*heads.parts(split), layout, heads.scale)
        middle, low_out = self._out.forward(mixed.flatten(1), a[1], x)
        normed, middle_factors = _normalise(middle, self._norms[1])
        gate_up, low_gate_up = self._gate_up.forward(normed, a[2])
        out, low_down = self._down.forward(elementwise.swiglu(gate_up), a[3], middle)
        first = [x, factors, low_qkv, split, mixed, sums, low_out]
        return out, [*a, *first, middle, middle_factors, low_gate_up, gate_up, low_down]

    def backward(
        self, gradient: torch.Tensor, kept: Sequence[torch.Tensor], heads: Heads, layout: Layout, whole: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """(the gradient of x if it is asked for, those of `parameters`), given that of what came out [T, D]."""
        a, (x, factors, low_qkv, split, mixed, sums, low_out), kept = kept[:4], kept[4:11], kept[11:]
        middle, middle_factors, low_gate_up, gate_up, low_down = kept
        of_active, of_low = self._down.of_input(gradient, a[3])
        of_gate_up, active = elementwise.swiglu_backward(of_active, gate_up)
        of_down = self._down.of_parameters(gradient, active, low_down, of_low)
        of_normed, of_low = self._gate_up.of_input(of_gate_up, a[2])
        normed = elementwise.normalise_again(middle, self._norms[1].weight, middle_factors)
        of_gate_up_parameters = self._gate_up.of_parameters(of_gate_up, normed, low_gate_up, of_low)
        of_middle = elementwise.normalise_backward(of_normed, middle, self._norms[1].weight, middle_factors, gradient)

        of_mixed, of_low = self._out.of_input(of_middle, a[1])
        of_out = self._out.of_parameters(of_middle, mixed.flatten(1), low_out, of_low)
        q, k, v = heads.parts(split)
        of_split = attention.backward(of_mixed.view(mixed.shape), q, k, v, mixed, sums, layout, heads.scale)
        elementwise.rotate(of_split[:, : -heads.groups], heads.cos, heads.sin, back=True)
        of_normed, of_low = self._qkv.of_input(of_split.flatten(1), a[0])
        normed = elementwise.normalise_again(x, self._norms[0].weight, factors)
        of_qkv = self._qkv.of_parameters(of_split.flatten(1), normed, low_qkv, of_low)
        of_x = None
        if whole:
            of_x = elementwise.normalise_backward(of_normed, x, self._norms[0].weight, factors, of_middle)
        return of_x, [*of_qkv, *of_out, *of_gate_up_parameters, *of_down]

    def __call__(self, x: torch.Tensor, heads: Heads, layout: Layout) -> torch.Tensor:
        """x [T, D] -> [T, D], with gradients for x and `parameters`."""
        return _Differentiated.apply(x, self, heads, layout, *self.parameters)  # type: ignore[no-any-return, no-untyped-call]


class _Differentiated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layer: _Layer, heads: Heads, layout: Layout, *_: torch.Tensor
    ) -> torch.Tensor:
        out, kept = layer.forward(x, heads, layout)
        ctx.save_for_backward(*kept)
        ctx.given = layer, heads, layout
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layer, *given = ctx.given
        of_x, of_parameters = layer.backward(gradient, ctx.saved_tensors, *given, ctx.needs_input_grad[0])
        return of_x, None, None, None, *of_parameters


def _normalise(x: torch.Tensor, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    normed = torch.empty_like(x)
    return normed, elementwise.normalise(x, norm.weight, norm.variance_epsilon, normed)


class Llama:
    """The layers of a PEFT model. `hidden` is what transformers' `model.model(...)` gives, before the last norm."""

    def __init__(self, model: Any) -> None:
        self._model = model.get_base_model().model
        self._config = self._model.config
        self.gradient_checkpointing = False
        self._layers = [_Layer(layer) for layer in self._model.layers]

    def hidden(self, ids: torch.Tensor, layout: Layout, at: torch.Tensor) -> torch.Tensor:
        """ids int [1, T], at int [N] -> [N, D]: the last hidden states at these places."""
        with torch.autocast(ids.device.type, enabled=False):
            x = self._model.embed_tokens(ids)
            heads = Heads(self._config, *self._model.rotary_emb(x, layout.positions[None]))
            x = x[0]
            for layer in self._layers:
                if self.gradient_checkpointing:
                    x = checkpoint(layer, x, heads, layout, use_reentrant=False)
                else:
                    x = layer(x, heads, layout)
            return self._model.norm(x.index_select(0, at))  # type: ignore[no-any-return]


def adapt(model: Any) -> Llama | None:
    """The fused path of a PEFT model; None, with the reason in the log, for one that trains through transformers."""
    base = model.get_base_model()
    reason = BACKEND.refusal(DecoderSpec.from_config(base.config)) or _refused_layer(base)
    if reason:
        _log.warning("the base model trains through transformers, which is slower: %s", reason)
        return None
    return Llama(model)


def _refused_layer(base: Any) -> str | None:
    """Why an adapter on one of the layers keeps the model from the fused path, if so."""
    for layer in base.model.layers:
        for name in chain(*PROJECTIONS.values()):
            linear = layer.get_submodule(name)
            if isinstance(linear, Linear):
                if linear.use_dora.get("default") or list(linear.lora_A) != ["default"]:
                    return f"{BACKEND.name} supports one plain LoRA adapter, and {name} has another"
            elif type(linear) is not torch.nn.Linear:
                return f"{BACKEND.name} does not support layers of the kind {type(linear).__name__}"
    return None


def _base(linear: Any) -> Any:
    return linear.get_base_layer() if isinstance(linear, Linear) else linear
