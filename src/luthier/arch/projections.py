"""The fused projections of a layer: linear layers that read the same tensor, as one matrix product."""

from luthier.arch.decoder import DecoderSpec

# Each fused projection, and the linear layers in it, as PEFT names them.
PROJECTIONS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


def output_sizes(spec: DecoderSpec) -> dict[str, list[int]]:
    """Per fused projection, the outputs of each linear layer in it."""
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    return {
        "qkv": [queries, keys, keys],
        "out": [spec.hidden_size],
        "gate_up": [spec.intermediate_size] * 2,
        "down": [spec.hidden_size],
    }


def shapes(spec: DecoderSpec) -> dict[str, tuple[int, int]]:
    """Per fused projection, (inputs, outputs)."""
    hidden = spec.hidden_size
    inputs = {"qkv": hidden, "out": spec.heads * spec.head_dim, "gate_up": hidden, "down": spec.intermediate_size}
    return {name: (inputs[name], sum(sizes)) for name, sizes in output_sizes(spec).items()}
