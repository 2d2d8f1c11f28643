"""DecoderSpec: what an attention-only decoder computes, read once from its config.json or its transformers config.

A config is described only if every key that it sets is: honoured by the model type (`families.py`), or known to change
no forward pass. Anything else is Unsupported, and transformers runs the model: a silent guess would train or serve
another model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.arch.experts import Experts
from luthier.arch.families import SIZES
from luthier.arch.features import ACTIVATIONS, Feature
from luthier.arch.model_config import load_config
from luthier.arch.reader import ConfigReader
from luthier.arch.rotary import Rotary
from luthier.arch.undescribed import Undescribed
from luthier.base_config import read_config, text_section
from luthier.types.errors import BaseModelError


@dataclass(frozen=True)
class Unsupported:
    """A config that is not described here, with the reason in English and Chinese."""

    reason: str
    chinese: str = field(default="", compare=False)


@dataclass(frozen=True)
class DecoderSpec:
    """Sizes and constants of a decoder, and the features that computing it needs.

    `windows`: per layer, the tokens that attention reaches back, None for all. `rope_layers`: per layer, whether
    queries and keys are rotated. `experts`: None where each layer has one MLP for all tokens. `structure`: the features
    that no size or constant shows, such as biases. Scales and multipliers are 1 where a model type has none.
    """

    model_type: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context_tokens: int
    norm_eps: float
    activation: str
    rotary: Rotary
    windows: tuple[int | None, ...]
    rope_layers: tuple[bool, ...]
    attention_scale: float
    attention_softcap: float | None
    logit_softcap: float | None
    logit_scale: float
    embedding_multiplier: float
    residual_multiplier: float
    experts: Experts | None
    structure: frozenset[Feature]

    @classmethod
    def from_config(cls, config: Any) -> "DecoderSpec | Unsupported":
        """`config`: a transformers config, or config.json as a mapping."""
        values: Mapping[str, Any] = config if isinstance(config, Mapping) else config.to_dict()
        try:
            reader = ConfigReader(values)
            heads, head_dim = reader["num_attention_heads"], reader.head_dim()
            windows = reader.windows()
            return cls(
                model_type=reader.model_type,
                hidden_size=reader["hidden_size"],
                intermediate_size=reader.intermediate_size(),
                layers=reader["num_hidden_layers"],
                heads=heads,
                kv_heads=reader["num_key_value_heads"] or heads,
                head_dim=head_dim,
                vocab_size=reader["vocab_size"],
                context_tokens=int(reader["max_position_embeddings"]),
                norm_eps=float(reader["layer_norm_eps"] or reader["rms_norm_eps"]),
                activation=reader.activation(),
                rotary=reader.rotary(),
                windows=windows,
                rope_layers=reader.rope_layers(windows),
                attention_scale=reader.attention_scale(),
                attention_softcap=reader["attn_logit_softcapping"],
                logit_softcap=reader["final_logit_softcapping"],
                logit_scale=reader.logit_scale(),
                embedding_multiplier=reader.embedding_multiplier(),
                residual_multiplier=float(reader["residual_multiplier"] or 1),
                experts=reader.experts(),
                structure=reader.structure(),
            )
        except (TypeError, ValueError, ZeroDivisionError) as error:
            return Unsupported(str(error), error.chinese if isinstance(error, Undescribed) else str(error))

    @classmethod
    def from_folder(cls, base: Path) -> "DecoderSpec | Unsupported":
        """Reads the config.json of a base model folder."""
        try:
            values = read_config(base)
            text = text_section(values)
            # Of several towers, the text_config may leave out what is transformers' default.
            complete = "text_config" not in values or set(SIZES) <= text.keys()
            return cls.from_config(text if complete else load_config(base))
        except BaseModelError as error:
            return Unsupported(str(error), str(error))

    @property
    def features(self) -> frozenset[Feature]:
        """Everything that a backend must support to compute this decoder."""
        activation = ACTIVATIONS[self.activation]
        needed = {
            Feature.GROUPED_QUERY_HEADS: self.kv_heads != self.heads,
            Feature.HEAD_DIM: self.head_dim * self.heads != self.hidden_size,
            Feature.ATTENTION_SCALE: abs(self.attention_scale * self.head_dim**0.5 - 1) > 1e-6,
            Feature.ATTENTION_SOFTCAP: self.attention_softcap is not None,
            Feature.SLIDING_WINDOW: any(self.windows),
            Feature.NOPE_LAYERS: not all(self.rope_layers),
            Feature.RESIDUAL_MULTIPLIER: self.residual_multiplier != 1,
            Feature.EMBEDDING_MULTIPLIER: self.embedding_multiplier != 1,
            Feature.LOGIT_SCALE: self.logit_scale != 1,
            Feature.LOGIT_SOFTCAP: self.logit_softcap is not None,
        }
        visible = {feature for feature, present in needed.items() if present}
        return self.structure | self.rotary.features | visible | ({activation} if activation else set())
