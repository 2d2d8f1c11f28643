"""Every way in which a decoder may depart from the plainest Llama.

The plainest Llama: pre-norm layers with RMSNorm, causal attention over all earlier tokens, rotary embeddings over the
full head width, a SwiGLU MLP, no biases, an output layer of its own, and as many key/value heads as query heads.
"""

from enum import Enum


class Feature(Enum):
    """The value is the name that error messages use."""

    # Attention
    GROUPED_QUERY_HEADS = "grouped-query attention"
    HEAD_DIM = "a head width other than hidden size / heads"
    QKV_BIAS = "biases of the query, key and value projections"
    OUTPUT_BIAS = "a bias of the attention output projection"
    QK_NORM = "QK-norm"
    QK_NORM_ALL_HEADS = "QK-norm over all heads together"
    ATTENTION_SCALE = "an attention scale other than 1 / sqrt(head width)"
    ATTENTION_SOFTCAP = "soft-capped attention scores"
    SLIDING_WINDOW = "sliding-window attention"
    BIDIRECTIONAL_ATTENTION = "bidirectional attention"

    # Positions
    LINEAR_ROPE = "linear RoPE scaling"
    LLAMA3_ROPE = "Llama 3 RoPE scaling"
    DYNAMIC_ROPE = "dynamic NTK RoPE scaling"
    YARN_ROPE = "YaRN RoPE scaling"
    LONGROPE = "LongRoPE scaling"
    PARTIAL_ROTARY = "partial rotary embeddings"
    INTERLEAVED_ROTARY = "interleaved rotary embeddings"
    ROPE_PER_LAYER_TYPE = "rotary embeddings that differ between layers"
    NOPE_LAYERS = "layers without rotary embeddings"

    # MLP
    MLP_BIAS = "biases in the MLP"
    GELU = "GELU"
    GELU_TANH = "tanh-approximated GELU"
    MIXTURE_OF_EXPERTS = "mixture of experts"
    NORMALIZED_ROUTING = "expert weights that add up to one"

    # Norms and residuals
    LAYER_NORM = "LayerNorm"
    OFFSET_NORM = "RMSNorm weights with an offset of one"
    POST_NORM = "norms after attention and MLP instead of before"
    SANDWICH_NORM = "norms before and after attention and MLP"
    PARALLEL_BLOCK = "attention and MLP in parallel"
    RESIDUAL_MULTIPLIER = "a residual multiplier"

    # Input and output
    EMBEDDING_MULTIPLIER = "an embedding multiplier"
    TIED_EMBEDDINGS = "tied embeddings"
    LOGIT_SCALE = "scaled logits"
    LOGIT_SOFTCAP = "soft-capped logits"

    # Weights
    JOINED_WEIGHTS = "projection weights that are stored joined"
    QUANTIZED_WEIGHTS = "quantized weights"


ROPE_KINDS = {
    "default": None,
    "linear": Feature.LINEAR_ROPE,
    "llama3": Feature.LLAMA3_ROPE,
    "dynamic": Feature.DYNAMIC_ROPE,
    "yarn": Feature.YARN_ROPE,
    "longrope": Feature.LONGROPE,
}
ACTIVATIONS = {
    "silu": None,
    "swish": None,
    "gelu": Feature.GELU,
    "gelu_pytorch_tanh": Feature.GELU_TANH,
    "gelu_new": Feature.GELU_TANH,
}


def listed(features: frozenset[Feature]) -> str:
    """Their names in the order of the enum, joined by commas and "and"."""
    names = [feature.value for feature in Feature if feature in features]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
