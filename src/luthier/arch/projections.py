"""The parts of a decoder layer by the names that transformers gives them: fused projections, and norms.

A fused projection is one matrix product for the linear layers that read the same tensor.
"""

from typing import NamedTuple

from luthier.arch.decoder import DecoderSpec
from luthier.arch.families import FAMILIES
from luthier.arch.features import Feature

# Each fused projection, and the linear layers in it, as PEFT names them.
PROJECTIONS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


class NormNames(NamedTuple):
    """The norms of a layer; None where it has none."""

    before_attention: str | None
    after_attention: str | None
    before_mlp: str | None
    after_mlp: str | None


def linear_names(spec: DecoderSpec) -> dict[str, tuple[str, ...]]:
    """Per fused projection, the names of its linear layers."""
    return {**PROJECTIONS, **FAMILIES[spec.model_type].linears}


def expert_names(spec: DecoderSpec) -> tuple[str, str]:
    """The router and the experts of a layer that has them."""
    return FAMILIES[spec.model_type].experts


def norm_names(spec: DecoderSpec) -> NormNames:
    if names := FAMILIES[spec.model_type].norms:
        return NormNames(*names)
    if Feature.SANDWICH_NORM in spec.features:
        return NormNames(
            "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"
        )
    if Feature.POST_NORM in spec.features:
        return NormNames(None, "post_attention_layernorm", None, "post_feedforward_layernorm")
    if Feature.PARALLEL_BLOCK in spec.features:  # attention and MLP read the same normalized input
        return NormNames("input_layernorm", None, None, None)
    return NormNames("input_layernorm", None, "post_attention_layernorm", None)


def output_sizes(spec: DecoderSpec) -> dict[str, list[int]]:
    """Per fused projection, the outputs of each linear layer in it."""
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    separate = {
        "qkv": [queries, keys, keys],
        "out": [spec.hidden_size],
        "gate_up": [spec.intermediate_size] * 2,
        "down": [spec.hidden_size],
    }
    names = linear_names(spec)
    return {name: sizes if len(names[name]) == len(sizes) else [sum(sizes)] for name, sizes in separate.items()}


def shapes(spec: DecoderSpec) -> dict[str, tuple[int, int]]:
    """Per fused projection, (inputs, outputs)."""
    hidden = spec.hidden_size
    inputs = {"qkv": hidden, "out": spec.heads * spec.head_dim, "gate_up": hidden, "down": spec.intermediate_size}
    return {name: (inputs[name], sum(sizes)) for name, sizes in output_sizes(spec).items()}
