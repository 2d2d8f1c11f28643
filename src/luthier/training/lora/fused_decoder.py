"""The fused training path: attention-only decoders with LoRA, in steps with hand-written gradients.

Computes what transformers and PEFT compute with the same weights, faster: projections of the same input are one matrix
product, LoRA's B is further columns of it, activations that are cheap to recompute are not saved, and frozen weights
have no gradients. `fuse` decides whether a model uses this path; others train through transformers.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.utils.checkpoint import checkpoint

from luthier.arch import Backend, DecoderSpec, Feature, Unsupported
from luthier.arch.projections import linear_names, norm_names
from luthier.arch.rotary_angles import Angles, RotaryAngles
from luthier.training.kernels.elementwise import Activation
from luthier.training.lora.attention_heads import AttentionHeads, attend
from luthier.training.lora.fused_linear import FusedLinear
from luthier.training.lora.layer_functions import FrozenNorm, linear_sum, normed_linear, normed_sum
from luthier.training.packing.packed_layout import Layout

BACKEND = Backend(
    "the fused training path",
    "融合的训练路径",
    frozenset(
        {
            *(Feature.GROUPED_QUERY_HEADS, Feature.HEAD_DIM, Feature.QKV_BIAS, Feature.OUTPUT_BIAS, Feature.MLP_BIAS),
            *(Feature.QK_NORM, Feature.QK_NORM_ALL_HEADS, Feature.ATTENTION_SCALE, Feature.ATTENTION_SOFTCAP),
            Feature.SLIDING_WINDOW,
            *(Feature.LINEAR_ROPE, Feature.LLAMA3_ROPE, Feature.DYNAMIC_ROPE, Feature.YARN_ROPE, Feature.LONGROPE),
            *(Feature.PARTIAL_ROTARY, Feature.ROPE_PER_LAYER_TYPE, Feature.NOPE_LAYERS),
            *(Feature.GELU, Feature.GELU_TANH),
            *(Feature.OFFSET_NORM, Feature.POST_NORM, Feature.SANDWICH_NORM, Feature.RESIDUAL_MULTIPLIER),
            *(Feature.EMBEDDING_MULTIPLIER, Feature.TIED_EMBEDDINGS, Feature.LOGIT_SCALE, Feature.LOGIT_SOFTCAP),
            Feature.JOINED_WEIGHTS,
        }
    ),
)
_log = logging.getLogger(__name__)


class _DecoderLayer:
    """T tokens of width D in and out."""

    def __init__(self, layer: Any, index: int, spec: DecoderSpec) -> None:
        self._norms = [None if name is None else FrozenNorm(getattr(layer, name), spec) for name in norm_names(spec)]
        names = linear_names(spec).values()
        linears = [FusedLinear([layer.get_submodule(name) for name in paths]) for paths in names]
        self._qkv, self._out, self._gate_up, self._down = linears
        self._heads = AttentionHeads(layer.self_attn, index, spec)
        self._multiplier, self._activation = spec.residual_multiplier, activation_of(spec)

    def __call__(self, x: torch.Tensor, angles: Angles | None, layout: Layout) -> torch.Tensor:
        """x [T, D] -> [T, D], with gradients for x and the adapters."""
        before_attention, after_attention, before_mlp, after_mlp = self._norms
        qkv, x = normed_linear(x, before_attention, self._qkv)
        x = self._added(attend(qkv, self._heads, angles, layout), x, self._out, after_attention)
        gate_up, x = normed_linear(x, before_mlp, self._gate_up)
        return self._added(gate_up, x, self._down, after_mlp, self._activation)

    def _added(
        self,
        x: torch.Tensor,
        residual: torch.Tensor,
        linear: FusedLinear,
        norm: FrozenNorm | None,
        activation: Activation | None = None,
    ) -> torch.Tensor:
        if norm is not None:
            return normed_sum(linear_sum(x, None, linear, activation), residual, norm)
        if self._multiplier != 1:
            return torch.add(residual, linear_sum(x, None, linear, activation), alpha=self._multiplier)
        return linear_sum(x, residual, linear, activation)


def activation_of(spec: DecoderSpec) -> Activation:
    if Feature.GELU_TANH in spec.features:
        return Activation.GELU_TANH
    return Activation.GELU if Feature.GELU in spec.features else Activation.SILU


# (x [T, D], angles, layout) → [T, D], with gradients.
Layer = Callable[[torch.Tensor, Angles | None, Layout], torch.Tensor]


class FusedDecoder:
    """A decoder of fused layers; `hidden` computes the output of transformers' `model.model(...)` at some tokens."""

    def __init__(self, body: Any, spec: DecoderSpec, layers: Sequence[Layer], dtype: torch.dtype) -> None:
        """`body`: the decoder in transformers; `dtype`: of activations."""
        self._model, self._spec, self._layers, self._dtype = body, spec, layers, dtype
        self.gradient_checkpointing = False
        self._angles = RotaryAngles(body.rotary_emb, spec, dtype)

    def hidden(self, ids: torch.Tensor, layout: Layout, indices: torch.Tensor) -> torch.Tensor:
        """ids int [1, T], indices int [N] -> [N, D]: the last hidden states of these tokens."""
        with torch.autocast(ids.device.type, enabled=False):
            x = self._embedded(ids)[0]
            angles = self._angles.at(layout.positions)
            for layer, layer_angles in zip(self._layers, angles, strict=True):
                if self.gradient_checkpointing:
                    x = checkpoint(layer, x, layer_angles, layout, use_reentrant=False)
                else:
                    x = layer(x, layer_angles, layout)
            return self._model.norm(x.index_select(0, indices))  # type: ignore[no-any-return]

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        embeddings = self._model.embed_tokens
        x: torch.Tensor = embeddings(ids).to(self._dtype)
        scales_itself = hasattr(embeddings, "embed_scale")
        return x if scales_itself or self._spec.embedding_multiplier == 1 else x * self._spec.embedding_multiplier


def fuse(model: Any) -> FusedDecoder | None:
    """The fused path of a PEFT model; None, with the reason in the log, for one that trains through transformers."""
    base = model.get_base_model()
    spec = DecoderSpec.from_config(base.config)
    reason = BACKEND.refusal(spec) or (isinstance(spec, DecoderSpec) and _refused_layer(base, spec)) or None
    if reason or isinstance(spec, Unsupported):
        _log.warning("the base model trains through transformers, which is slower: %s", reason)
        return None
    body = base.model
    layers = [_DecoderLayer(layer, index, spec) for index, layer in enumerate(body.layers)]
    return FusedDecoder(body, spec, layers, body.embed_tokens.weight.dtype)


def _refused_layer(base: Any, spec: DecoderSpec) -> str | None:
    """The reason why an adapter on one of the layers rules out the fused path, if any."""
    for layer in base.model.layers:
        for name in chain(*linear_names(spec).values()):
            linear = layer.get_submodule(name)
            if isinstance(linear, Linear):
                if linear.use_dora.get("default") or list(linear.lora_A) != ["default"]:
                    return f"{BACKEND.name} supports one plain LoRA adapter, and {name} has another"
            elif type(linear) is not torch.nn.Linear:
                return f"{BACKEND.name} does not support layers of the type {type(linear).__name__}"
    return None
