"""The batched engine: Llama-like decoders in PyTorch; one pass decodes many sequences with many adapters."""

from luthier.arch import Backend, Feature

BACKEND = Backend(
    "the engine batched",
    frozenset(
        {
            Feature.GROUPED_QUERY_HEADS,
            Feature.HEAD_DIM,
            Feature.QKV_BIAS,
            Feature.LINEAR_ROPE,
            Feature.LLAMA3_ROPE,
            Feature.TIED_EMBEDDINGS,
        }
    ),
)
