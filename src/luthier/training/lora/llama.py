"""The fused training path: decoders of the Llama family with LoRA, layer by layer with hand-written gradients.

Computes what transformers and PEFT compute with the same weights, faster: projections of the same input are one
matrix product, LoRA's B is further columns of it, activations that are cheap to recompute are not saved, and frozen
weights have no gradients. `fuse` decides whether a model takes this path; others train through transformers.
"""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.utils.checkpoint import checkpoint

from luthier.arch import Backend, DecoderSpec, Feature, Unsupported
from luthier.arch.projections import PROJECTIONS
from luthier.training.kernels import attention, elementwise
from luthier.training.kernels.score_rule import ScoreRule
from luthier.training.lora.fused_linear import FusedLinear
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


class AttentionHeads:
    """H query heads of width K, G key/value heads, and the rotary embeddings of a batch: cos and sin [T, 1, K / 2]."""

    def __init__(self, spec: DecoderSpec, cos: torch.Tensor, sin: torch.Tensor) -> None:
        self.count, self.kv_heads, self.width = spec.heads, spec.kv_heads, spec.head_dim
        self.rule = ScoreRule(self.width**-0.5)
        self.cos, self.sin = (angles[0, :, None, : self.width // 2].contiguous() for angles in (cos, sin))

    def split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[T, H + 2 G, K] -> queries, keys, values."""
        q, k, v = qkv.split_with_sizes([self.count, self.kv_heads, self.kv_heads], 1)
        return q, k, v

    def rotate(self, qkv: torch.Tensor, *, inverse: bool = False) -> None:
        """Rotates queries and keys of [T, H + 2 G, K] in place."""
        elementwise.apply_rotary(qkv[:, : -self.kv_heads], self.cos, self.sin, inverse=inverse)


class _DecoderLayer:
    """T tokens of width D in and out. `parameters`: those of its four fused linear layers, in their order."""

    def __init__(self, layer: Any) -> None:
        self._norms = layer.input_layernorm, layer.post_attention_layernorm
        self._linears = [FusedLinear([layer.get_submodule(name) for name in names]) for names in PROJECTIONS.values()]
        self._qkv, self._out, self._gate_up, self._down = self._linears
        self.parameters = [parameter for linear in self._linears for parameter in linear.parameters]

    def forward(
        self, x: torch.Tensor, heads: AttentionHeads, layout: Layout
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """x [T, D] -> (the layer's output [T, D], the activations that `backward` needs)."""
        a = [linear.load_factors() for linear in self._linears]
        normed, inverse_rms = _rms_norm(x, self._norms[0])
        qkv, low_qkv = self._qkv.forward(normed, a[0])
        qkv_heads = qkv.view(len(x), -1, heads.width)
        heads.rotate(qkv_heads)
        attended, logsumexp = attention.forward(*heads.split(qkv_heads), layout, heads.rule)
        middle, low_out = self._out.forward(attended.flatten(1), a[1], x)
        normed, middle_inverse_rms = _rms_norm(middle, self._norms[1])
        gate_up, low_gate_up = self._gate_up.forward(normed, a[2])
        out, low_down = self._down.forward(elementwise.swiglu(gate_up), a[3], middle)
        attention_part = [x, inverse_rms, low_qkv, qkv_heads, attended, logsumexp, low_out]
        return out, [*a, *attention_part, middle, middle_inverse_rms, low_gate_up, gate_up, low_down]

    def backward(
        self,
        gradient: torch.Tensor,
        saved: Sequence[torch.Tensor],
        heads: AttentionHeads,
        layout: Layout,
        input_needs_gradient: bool,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """The gradient of the output [T, D] -> (of x if it is needed, of `parameters`)."""
        a, attention_part, mlp_part = saved[:4], saved[4:11], saved[11:]
        middle_gradient, mlp_gradients = self._mlp_backward(gradient, a, mlp_part)
        x, inverse_rms, low_qkv, qkv_heads, attended, logsumexp, low_out = attention_part

        attended_gradient, low_gradient = self._out.input_gradient(middle_gradient, a[1])
        out_gradients = self._out.parameter_gradients(middle_gradient, attended.flatten(1), low_out, low_gradient)
        q, k, v = heads.split(qkv_heads)
        qkv_gradient = attention.backward(
            attended_gradient.view(attended.shape), q, k, v, attended, logsumexp, layout, heads.rule
        )
        heads.rotate(qkv_gradient, inverse=True)
        normed_gradient, low_gradient = self._qkv.input_gradient(qkv_gradient.flatten(1), a[0])
        normed = elementwise.rms_norm_recompute(x, self._norms[0].weight, inverse_rms)
        qkv_gradients = self._qkv.parameter_gradients(qkv_gradient.flatten(1), normed, low_qkv, low_gradient)
        x_gradient = None
        if input_needs_gradient:
            x_gradient = elementwise.rms_norm_backward(
                normed_gradient, x, self._norms[0].weight, inverse_rms, middle_gradient
            )
        return x_gradient, [*qkv_gradients, *out_gradients, *mlp_gradients]

    def _mlp_backward(
        self, gradient: torch.Tensor, a: Sequence[torch.Tensor], saved: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The gradient of the output -> (of the input of the second norm [T, D], of gate, up and down)."""
        middle, inverse_rms, low_gate_up, gate_up, low_down = saved
        activation_gradient, low_gradient = self._down.input_gradient(gradient, a[3])
        gate_up_gradient, activation = elementwise.swiglu_backward(activation_gradient, gate_up)
        down_gradients = self._down.parameter_gradients(gradient, activation, low_down, low_gradient)
        normed_gradient, low_gradient = self._gate_up.input_gradient(gate_up_gradient, a[2])
        norm_weight = self._norms[1].weight
        normed = elementwise.rms_norm_recompute(middle, norm_weight, inverse_rms)
        gate_up_gradients = self._gate_up.parameter_gradients(gate_up_gradient, normed, low_gate_up, low_gradient)
        middle_gradient = elementwise.rms_norm_backward(normed_gradient, middle, norm_weight, inverse_rms, gradient)
        return middle_gradient, [*gate_up_gradients, *down_gradients]

    def __call__(self, x: torch.Tensor, heads: AttentionHeads, layout: Layout) -> torch.Tensor:
        """x [T, D] -> [T, D], with gradients for x and `parameters`."""
        return _DecoderLayerFunction.apply(x, self, heads, layout, *self.parameters)  # type: ignore[no-any-return, no-untyped-call]


class _DecoderLayerFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layer: _DecoderLayer, heads: AttentionHeads, layout: Layout, *_: torch.Tensor
    ) -> torch.Tensor:
        out, activations = layer.forward(x, heads, layout)
        ctx.save_for_backward(*activations)
        ctx.arguments = layer, heads, layout
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layer, *arguments = ctx.arguments
        x_gradient, parameter_gradients = layer.backward(
            gradient, ctx.saved_tensors, *arguments, ctx.needs_input_grad[0]
        )
        return x_gradient, None, None, None, *parameter_gradients


def _rms_norm(x: torch.Tensor, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    normed = torch.empty_like(x)
    return normed, elementwise.rms_norm(x, norm.weight, norm.variance_epsilon, normed)


class FusedDecoder:
    """The decoder of a PEFT model; `hidden` computes what transformers' `model.model(...)` does at some tokens."""

    def __init__(self, model: Any, spec: DecoderSpec) -> None:
        self._model, self._spec = model.get_base_model().model, spec
        self.gradient_checkpointing = False
        self._layers = [_DecoderLayer(layer) for layer in self._model.layers]

    def hidden(self, ids: torch.Tensor, layout: Layout, indices: torch.Tensor) -> torch.Tensor:
        """ids int [1, T], indices int [N] -> [N, D]: the last hidden states of these tokens."""
        with torch.autocast(ids.device.type, enabled=False):
            x = self._model.embed_tokens(ids)
            heads = AttentionHeads(self._spec, *self._model.rotary_emb(x, layout.positions[None]))
            x = x[0]
            for layer in self._layers:
                if self.gradient_checkpointing:
                    x = checkpoint(layer, x, heads, layout, use_reentrant=False)
                else:
                    x = layer(x, heads, layout)
            return self._model.norm(x.index_select(0, indices))  # type: ignore[no-any-return]


def fuse(model: Any) -> FusedDecoder | None:
    """The fused path of a PEFT model; None, with the reason in the log, for one that trains through transformers."""
    base = model.get_base_model()
    spec = DecoderSpec.from_config(base.config)
    reason = BACKEND.refusal(spec) or _refused_layer(base)
    if reason or isinstance(spec, Unsupported):
        _log.warning("the base model trains through transformers, which is slower: %s", reason)
        return None
    return FusedDecoder(model, spec)


def _refused_layer(base: Any) -> str | None:
    """Why an adapter on one of the layers keeps the model from the fused path, if so."""
    for layer in base.model.layers:
        for name in chain(*PROJECTIONS.values()):
            linear = layer.get_submodule(name)
            if isinstance(linear, Linear):
                if linear.use_dora.get("default") or list(linear.lora_A) != ["default"]:
                    return f"{BACKEND.name} supports one plain LoRA adapter, and {name} has another"
            elif type(linear) is not torch.nn.Linear:
                return f"{BACKEND.name} does not support layers of the type {type(linear).__name__}"
    return None
