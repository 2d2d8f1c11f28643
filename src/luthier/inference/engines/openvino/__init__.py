"""The openvino engine: Llama-like decoders as one compiled graph, with a paged KV cache in shared blocks."""

from luthier.arch import Backend, Feature

BACKEND = Backend(
    "the engine openvino",
    "引擎 openvino ",
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
