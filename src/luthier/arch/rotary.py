"""Rotary position embeddings (Su et al., 2021) as configs write them.

transformers 5 writes `rope_parameters`, one for all layers or one per layer type; earlier versions wrote `rope_theta`,
`rope_scaling` and `partial_rotary_factor` side by side. Both are read here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.arch.features import ROPE_KINDS, Feature
from luthier.arch.undescribed import Undescribed

_PARAMETERS = frozenset(
    """
    rope_type type rope_theta partial_rotary_factor factor original_max_position_embeddings attention_factor
    low_freq_factor high_freq_factor beta_fast beta_slow mscale mscale_all_dim truncate short_factor long_factor
    short_mscale long_mscale
    """.split()  # noqa: SIM905 - as short as it gets
)
_LEGACY_KINDS = {"su": "longrope"}
_REQUIRED = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor")}


@dataclass(frozen=True)
class Rotary:
    """`kind`: a key of ROPE_KINDS. `local`: that of the windowed layers, where it differs.

    `short_tokens`: the length up to which LongRoPE rotates a sequence by its short factors; from there on all of its
    tokens, the first ones too, are rotated by the long ones. None for other kinds.
    `parameters`: those that the kind has beside, by their names in configs.
    """

    kind: str
    theta: float
    partial_factor: float = 1.0
    short_tokens: int | None = None
    local: "Rotary | None" = None
    parameters: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def features(self) -> set[Feature]:
        kind = ROPE_KINDS[self.kind]
        features = {kind} if kind else set()
        if self.partial_factor != 1:
            features.add(Feature.PARTIAL_ROTARY)
        if self.local:
            features |= {Feature.ROPE_PER_LAYER_TYPE} | self.local.features
        return features


def read_rotary(kinds: Mapping[str, str], option: Callable[[str], Any]) -> Rotary:
    """`kinds`: what the model type's first releases called the kinds. `option`: the value of a config key, None for one
    that the model type does not honour.

    Raises Undescribed for a kind or a parameter that is not described here.
    """
    parameters = option("rope_parameters") or option("rope_scaling") or {}
    per_layer_type = {key: value for key, value in parameters.items() if isinstance(value, Mapping)}
    if not per_layer_type:
        rotary = _read_one(parameters, kinds, option)
        local_theta = option("rope_local_base_freq")
        return _with_local(rotary, Rotary("default", float(local_theta)) if local_theta else rotary)
    if set(parameters) - {"full_attention", "sliding_attention"}:
        layer_type = sorted(parameters)[0]
        raise Undescribed(
            f"rope_parameters for layers of the type '{layer_type}' are not described",
            f"没有类型为“{layer_type}”的层的 rope_parameters 的描述",
        )
    layer_types = ("full_attention", "sliding_attention")
    rotary, local = (_read_one(parameters.get(layer_type) or {}, kinds, option) for layer_type in layer_types)
    return _with_local(rotary, local)


def _with_local(rotary: Rotary, local: Rotary) -> Rotary:
    return rotary if local == rotary else replace(rotary, local=local)


def _read_one(parameters: Mapping[str, Any], kinds: Mapping[str, str], option: Callable[[str], Any]) -> Rotary:
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    kind = {**_LEGACY_KINDS, **kinds}.get(kind, kind)
    if kind not in ROPE_KINDS:
        raise Undescribed(f"the RoPE type '{kind}' is not described", f"没有 RoPE 类型“{kind}”的描述")
    undescribed = sorted(key for key in parameters if key not in _PARAMETERS and parameters[key] is not None)
    if undescribed:
        raise Undescribed(
            f"the RoPE parameter '{undescribed[0]}' is not described", f"没有 RoPE 参数“{undescribed[0]}”的描述"
        )
    for key in _REQUIRED.get(kind, ()):
        if parameters.get(key) is None:
            raise Undescribed(f"its RoPE parameters lack '{key}'", f"它的 RoPE 参数缺少 {key}")
    theta = parameters.get("rope_theta") or option("rope_theta")
    factor = parameters.get("partial_rotary_factor") or option("partial_rotary_factor") or 1.0
    original = "original_max_position_embeddings"
    trained = int(option(original) or parameters.get(original) or option("max_position_embeddings"))
    short_tokens = trained if kind == "longrope" else None
    return Rotary(kind, float(theta), float(factor), short_tokens, parameters={**parameters, original: trained})
