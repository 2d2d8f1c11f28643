"""The native engine: Llama-like decoders in C++, with kernels for each CPU tier."""

from luthier.arch import Backend, Feature

BACKEND = Backend(
    "the engine native",
    "引擎 native ",
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
