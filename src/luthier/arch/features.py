"""Every feature in which a decoder may differ from the plainest Llama.

The plainest Llama: pre-norm layers with RMSNorm, causal attention over all earlier tokens, rotary embeddings over the
full head width, a SwiGLU MLP, no biases, an output layer of its own, and as many key/value heads as query heads.
"""

from enum import Enum

from luthier.language import Language


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
    ATTENTION_SINKS = "attention sinks"
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
    SHARED_EXPERT = "an expert that all tokens share"

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


CHINESE_NAMES = {
    Feature.GROUPED_QUERY_HEADS: "分组查询注意力",
    Feature.HEAD_DIM: "不等于隐藏维度除以头数的头宽",
    Feature.QKV_BIAS: "查询、键和值投影的偏置",
    Feature.OUTPUT_BIAS: "注意力输出投影的偏置",
    Feature.QK_NORM: "QK 归一化",
    Feature.QK_NORM_ALL_HEADS: "所有头一起的 QK 归一化",
    Feature.ATTENTION_SCALE: "不等于 1 / sqrt(头宽) 的注意力缩放",
    Feature.ATTENTION_SOFTCAP: "注意力分数的软上限",
    Feature.ATTENTION_SINKS: "注意力 sink",
    Feature.SLIDING_WINDOW: "滑动窗口注意力",
    Feature.BIDIRECTIONAL_ATTENTION: "双向注意力",
    Feature.LINEAR_ROPE: "线性 RoPE 缩放",
    Feature.LLAMA3_ROPE: "Llama 3 的 RoPE 缩放",
    Feature.DYNAMIC_ROPE: "动态 NTK 的 RoPE 缩放",
    Feature.YARN_ROPE: "YaRN 的 RoPE 缩放",
    Feature.LONGROPE: "LongRoPE 缩放",
    Feature.PARTIAL_ROTARY: "部分旋转位置编码",
    Feature.INTERLEAVED_ROTARY: "交错的旋转位置编码",
    Feature.ROPE_PER_LAYER_TYPE: "各层不同的旋转位置编码",
    Feature.NOPE_LAYERS: "没有旋转位置编码的层",
    Feature.MLP_BIAS: "MLP 的偏置",
    Feature.GELU: "GELU",
    Feature.GELU_TANH: "tanh 近似的 GELU",
    Feature.MIXTURE_OF_EXPERTS: "混合专家",
    Feature.NORMALIZED_ROUTING: "总和为一的专家权重",
    Feature.SHARED_EXPERT: "所有 token 共用的专家",
    Feature.LAYER_NORM: "LayerNorm",
    Feature.OFFSET_NORM: "权重加一的 RMSNorm",
    Feature.POST_NORM: "注意力和 MLP 之后而不是之前的归一化",
    Feature.SANDWICH_NORM: "注意力和 MLP 前后的归一化",
    Feature.PARALLEL_BLOCK: "并行的注意力和 MLP",
    Feature.RESIDUAL_MULTIPLIER: "残差乘数",
    Feature.EMBEDDING_MULTIPLIER: "嵌入乘数",
    Feature.TIED_EMBEDDINGS: "共享的嵌入",
    Feature.LOGIT_SCALE: "缩放的 logits",
    Feature.LOGIT_SOFTCAP: "logits 的软上限",
    Feature.JOINED_WEIGHTS: "合并存储的投影权重",
    Feature.QUANTIZED_WEIGHTS: "量化的权重",
}


def listed(features: frozenset[Feature], language: Language = "en") -> str:
    """Their names in the order of the enum, joined by commas and "and"."""
    ordered = [feature for feature in Feature if feature in features]
    if language == "zh":
        return "、".join(CHINESE_NAMES[feature] for feature in ordered)
    names = [feature.value for feature in ordered]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
