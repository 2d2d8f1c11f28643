"""How the tokens of a row influence each other, and so whether several examples may share a row.

Packed rows keep examples apart inside attention. Recurrent and convolution layers carry state from token to token, and
some attention code does not support a layout: in these cases each example has its own row, and transformers computes
attention.
"""

from typing import Any, Literal

from luthier.arch.decoder import DecoderSpec

_ATTENTION = {"full_attention", "sliding_attention"}
RowReason = Literal["recurrent", "own_attention", "sinks", "mixed_rows"]
ROW_REASONS: dict[RowReason, tuple[str, str]] = {  # what such a model has, in English and Chinese
    "recurrent": ("recurrent or convolution layers", "循环层或卷积层"),
    "own_attention": ("its own attention code", "自己的注意力实现"),
    "sinks": ("attention sinks", "注意力 sink"),
    "mixed_rows": ("layers that mix the examples of a row", "会混合同一行样本的层"),
}


def separate_rows(config: Any) -> RowReason | None:
    """Why every example of this model needs a row of its own; None where packed rows compute the same.

    `config`: transformers' config of a causal language model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    if is_recurrent(config):
        return "recurrent"
    if not model_class._supports_attention_backend:
        return "own_attention"
    has_softcap = getattr(config, "attn_logit_softcapping", None) is not None
    is_described = isinstance(DecoderSpec.from_config(config), DecoderSpec)
    return None if model_class._supports_sdpa or has_softcap or is_described else "sinks"


def is_recurrent(config: Any) -> bool:
    """Whether layers carry state from token to token, as the caches of its layers tell."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.cache_utils import (
        DYNAMIC_LAYER_TYPE_MAPPING,
        LinearAttentionCacheLayerMixin,
        get_layer_types_and_kwargs,
    )

    layer_types = set(getattr(config, "layer_types", None) or [])
    only_attention = bool(layer_types) and layer_types <= _ATTENTION  # as in the smaller ones of Granite 4
    if MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._is_stateful and not only_attention:
        return True
    kinds, _ = get_layer_types_and_kwargs(config)
    layers = [DYNAMIC_LAYER_TYPE_MAPPING.get(kind, LinearAttentionCacheLayerMixin) for kind in kinds]
    return any(issubclass(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def short_tokens(config: Any) -> int | None:
    """With LongRoPE, the length up to which a sequence is rotated by the short factors; None for other models.

    transformers goes by the longest sequence of a row.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    return int(parameters["original_max_position_embeddings"]) if parameters.get("rope_type") == "longrope" else None


def attention_windows(config: Any) -> list[int | None]:
    """Per layer, the tokens that attention reaches back; None for all."""
    from transformers.cache_utils import get_layer_types_and_kwargs

    return [options.get("sliding_window") for options in get_layer_types_and_kwargs(config)[1]]
