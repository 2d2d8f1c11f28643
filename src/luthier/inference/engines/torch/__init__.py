"""The batched engine: attention-only decoders in PyTorch; one pass decodes many sequences with many adapters."""

from luthier.arch import Backend, Feature

# All features except attention to later tokens and quantized weights.
BACKEND = Backend(
    "the engine batched",
    "引擎 batched ",
    frozenset(
        {
            *(Feature.GROUPED_QUERY_HEADS, Feature.HEAD_DIM, Feature.QKV_BIAS, Feature.OUTPUT_BIAS),
            *(Feature.QK_NORM, Feature.QK_NORM_ALL_HEADS, Feature.ATTENTION_SCALE, Feature.ATTENTION_SOFTCAP),
            *(Feature.ATTENTION_SINKS, Feature.SLIDING_WINDOW),
            *(Feature.LINEAR_ROPE, Feature.LLAMA3_ROPE, Feature.DYNAMIC_ROPE, Feature.YARN_ROPE, Feature.LONGROPE),
            *(Feature.PARTIAL_ROTARY, Feature.INTERLEAVED_ROTARY, Feature.ROPE_PER_LAYER_TYPE, Feature.NOPE_LAYERS),
            *(Feature.MLP_BIAS, Feature.GELU, Feature.GELU_TANH),
            *(Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING, Feature.SHARED_EXPERT),
            *(Feature.LAYER_NORM, Feature.OFFSET_NORM, Feature.POST_NORM, Feature.SANDWICH_NORM),
            *(Feature.PARALLEL_BLOCK, Feature.RESIDUAL_MULTIPLIER),
            *(Feature.EMBEDDING_MULTIPLIER, Feature.TIED_EMBEDDINGS, Feature.LOGIT_SCALE, Feature.LOGIT_SOFTCAP),
            Feature.JOINED_WEIGHTS,
        }
    ),
)
