"""The keys of a config as its model type understands them: defaults filled in, derived values computed."""

import math
from collections.abc import Mapping
from typing import Any

from luthier.arch.experts import Experts, GateClamp
from luthier.arch.families import FAMILIES, SIZES
from luthier.arch.features import ACTIVATIONS, Feature
from luthier.arch.inert_keys import INERT, INERT_WHEN_FALSE
from luthier.arch.rotary import Rotary, read_rotary
from luthier.arch.undescribed import Undescribed


class ConfigReader:
    """The constructor and the methods raise Undescribed for a config that is not described here."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.model_type = str(values.get("model_type"))
        if self.model_type not in FAMILIES:
            raise Undescribed(
                f"the model type '{self.model_type}' is not described", f"没有模型类型“{self.model_type}”的结构描述"
            )
        self._values, self._family = values, FAMILIES[self.model_type]
        for key in SIZES:
            if not isinstance(values.get(key), int):
                raise Undescribed(f"its config does not give '{key}'", f"它的配置没有给出 {key}")
        if undescribed := self._undescribed():
            raise Undescribed(
                f"its config sets '{undescribed}', whose effect on '{self.model_type}' is not described",
                f"它的配置设置了 {undescribed}，而它对“{self.model_type}”的作用没有描述",
            )

    def _undescribed(self) -> str | None:
        """The first key that may change what is computed, without that being described."""
        described = {*self._family.options, *SIZES, *INERT}
        for key, value in sorted(self._values.items()):
            off = value in (None, "", [], {}) or (key in INERT_WHEN_FALSE and value is False)
            if key not in described and not off:
                return key
        return None

    def __getitem__(self, key: str) -> Any:
        """A key's value or default; None for one that the model type does not honour."""
        if key in SIZES:
            return self._values[key]
        options = self._family.options
        return self._values.get(key, options[key]) if key in options else None

    def head_dim(self) -> int:
        return int(self["head_dim"] or self["hidden_size"] // self["num_attention_heads"])

    def intermediate_size(self) -> int:
        return int(self["shared_intermediate_size"] or self["intermediate_size"])

    def activation(self) -> str:
        """A key of ACTIVATIONS."""
        name = self["hidden_activation"] or self["hidden_act"]
        if name == "gelu" and self.model_type == "gemma":  # its first release wrote so and meant this
            name = "gelu_pytorch_tanh"
        if name not in ACTIVATIONS:
            raise Undescribed(f"the activation '{name}' is not described", f"没有激活函数“{name}”的描述")
        return str(name)

    def rotary(self) -> Rotary:
        return read_rotary(self._family.rope_kinds, self.__getitem__)

    def windows(self) -> tuple[int | None, ...]:
        """Per layer, the tokens that attention reaches back; None for all."""
        count, window, types = self["num_hidden_layers"], self["sliding_window"], self["layer_types"]
        if not window or ("use_sliding_window" in self._family.options and not self["use_sliding_window"]):
            window = None
        if types is None:
            return self._windows_without_types(count, window)
        types = ["full_attention" if kind == "attention" else kind for kind in types]  # as Granite 4 wrote it first
        if undescribed := sorted(set(types) - {"full_attention", "sliding_attention"}):
            raise Undescribed(
                f"layers of the type '{undescribed[0]}' are not described", f"没有类型为“{undescribed[0]}”的层的描述"
            )
        if len(types) != count:
            raise Undescribed(
                f"its config has {count} layers and {len(types)} layer_types",
                f"它的配置有 {count} 层，而 layer_types 有 {len(types)} 个",
            )
        return tuple(window if kind == "sliding_attention" else None for kind in types)

    def _windows_without_types(self, count: int, window: int | None) -> tuple[int | None, ...]:
        if window is None:
            return (None,) * count
        if self["no_rope_layers"] or self["no_rope_layer_interval"]:
            raise Undescribed(
                "sliding windows without 'layer_types' are not described", "没有缺少 layer_types 的滑动窗口的描述"
            )
        every = self["sliding_window_pattern"] or self["_sliding_window_pattern"] or self._family.full_attention_every
        if every:
            return tuple(window if (layer + 1) % every else None for layer in range(count))
        first = self["max_window_layers"] or 0
        return tuple(window if layer >= first else None for layer in range(count))

    def rope_layers(self, windows: tuple[int | None, ...]) -> tuple[bool, ...]:
        """Per layer, whether queries and keys are rotated."""
        if "position_embedding_type" in self._family.options and self["position_embedding_type"] != "rope":
            return (False,) * len(windows)
        if Feature.NOPE_LAYERS in self._family.features:  # only layers with a window rotate
            return tuple(window is not None for window in windows)
        if rotated := self["no_rope_layers"]:  # named after its zeros
            return tuple(map(bool, rotated))
        every = self["no_rope_layer_interval"]
        return tuple(not every or bool((layer + 1) % every) for layer in range(self["num_hidden_layers"]))

    def attention_scale(self) -> float:
        if self["attention_multiplier"] is not None:
            return float(self["attention_multiplier"])
        return 1 / math.sqrt(self["query_pre_attn_scalar"] or self.head_dim())

    def embedding_multiplier(self) -> float:
        if Feature.EMBEDDING_MULTIPLIER in self._family.features:
            return math.sqrt(self["hidden_size"])
        return float(self["embedding_multiplier"] or 1)

    def logit_scale(self) -> float:
        """The factor of the logits."""
        return float(self["logit_scale"] or 1) / float(self["logits_scaling"] or 1)

    def experts(self) -> Experts | None:
        if Feature.MIXTURE_OF_EXPERTS not in self.structure():
            return None
        dense, every = self["mlp_only_layers"] or (), self["decoder_sparse_step"] or 1
        layers = tuple(
            layer not in dense and not (layer + 1) % every and self["num_experts"] != 0
            for layer in range(self["num_hidden_layers"])
        )
        limit = self["swiglu_limit"]
        clamp = GateClamp(float(self["swiglu_alpha"]), float(limit)) if limit else None
        return Experts(int(self["num_experts_per_tok"]), layers, clamp)

    def structure(self) -> frozenset[Feature]:
        """The features that no size or constant shows."""
        switched = [features for key, features in self._family.switches.items() if self[key]]
        return self._family.features.union(*switched)
