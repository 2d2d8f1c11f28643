"""llama.cpp's architectures: metadata keys, tensor names, and the row order of the query and key projections.

Models that llama.cpp would compute differently from transformers are refused, with the name of the feature.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gguf import MODEL_ARCH, GGUFWriter, RopeScalingType, TensorNameMap, get_tensor_name_map

from luthier.arch import Backend, DecoderSpec, Feature, Unsupported
from luthier.arch.model_config import load_config
from luthier.language import say
from luthier.types.errors import ExportError

_ARCHITECTURES = {
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
}
_BACKEND = Backend(
    "the GGUF export",
    "GGUF 导出",
    frozenset(
        (
            Feature.GROUPED_QUERY_HEADS,
            Feature.HEAD_DIM,
            Feature.QKV_BIAS,
            Feature.QK_NORM,
            Feature.LINEAR_ROPE,
            Feature.LLAMA3_ROPE,
            Feature.TIED_EMBEDDINGS,
        )
    ),
)
_SUFFIXES = (".weight", ".bias")


@dataclass(frozen=True)
class Architecture:
    """How a model is written for llama.cpp; `rope_parameters` are those of its configuration, with `rope_type`."""

    kind: MODEL_ARCH
    spec: DecoderSpec
    rope_parameters: dict[str, Any]
    names: TensorNameMap

    @classmethod
    def of(cls, folder: Path, spec: DecoderSpec | Unsupported) -> "Architecture":
        """The architecture of the model in `folder`. Raises ExportError if llama.cpp does not support it."""
        refusal = _BACKEND.refusal(spec, language=None)
        if isinstance(spec, Unsupported) or refusal or spec.model_type not in _ARCHITECTURES:
            types = ", ".join(_ARCHITECTURES)
            model_type = getattr(spec, "model_type", "")
            reason = refusal or say(
                f"{_BACKEND.name} does not support the model type {model_type}", f"GGUF 导出不支持模型类型 {model_type}"
            )
            raise ExportError(
                say(
                    f"No GGUF file can be written: {reason}. Model types: {types}. Export merged, and convert the "
                    "folder with llama.cpp's convert_hf_to_gguf.py.",
                    f"无法写出 GGUF 文件：{reason}。支持的模型类型：{types}。"
                    "请导出 merged，再用 llama.cpp 的 convert_hf_to_gguf.py 转换该文件夹。",
                )
            )
        kind = _ARCHITECTURES[spec.model_type]
        parameters = dict(getattr(load_config(folder), "rope_parameters", None) or {})
        return cls(kind, spec, parameters, get_tensor_name_map(kind, spec.layers))

    def tensor_name(self, name: str) -> str:
        """llama.cpp's name for the tensor `name`. Raises ExportError if it has none."""
        mapped: str | None = self.names.get_name(name, try_suffixes=_SUFFIXES)
        if mapped is None:
            raise ExportError(say(f"llama.cpp has no tensor {name}.", f"llama.cpp 没有张量 {name}。"))
        return mapped

    def reordered(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """The rows [O, ...] of the tensor `name` in llama.cpp's order.

        For the Llama architecture, llama.cpp's rotary embedding expects the two rows of each pair of the query and key
        projections side by side; in transformers they are half a head apart. Other tensors are returned unchanged.
        """
        heads = {"q_proj": self.spec.heads, "k_proj": self.spec.kv_heads}.get(name.split(".")[-2])
        if self.kind is not MODEL_ARCH.LLAMA or heads is None:
            return rows
        halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        return halves.swapaxes(1, 2).reshape(rows.shape)

    def add_sizes(self, writer: GGUFWriter) -> None:
        """Adds the metadata of the architecture: sizes, heads, normalization, and rotary embedding."""
        spec = self.spec
        writer.add_vocab_size(spec.vocab_size)
        writer.add_context_length(spec.context_tokens)
        writer.add_embedding_length(spec.hidden_size)
        writer.add_block_count(spec.layers)
        writer.add_feed_forward_length(spec.intermediate_size)
        writer.add_head_count(spec.heads)
        writer.add_head_count_kv(spec.kv_heads)
        writer.add_key_length(spec.head_dim)
        writer.add_value_length(spec.head_dim)
        writer.add_layer_norm_rms_eps(spec.norm_eps)
        writer.add_rope_dimension_count(spec.head_dim)
        writer.add_rope_freq_base(spec.rotary.theta)
        if spec.rotary.kind == "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(self.rope_parameters["factor"]))

    def rope_factors(self) -> torch.Tensor | None:
        """The divisor of each rotary frequency in Llama 3's scaling, float32 [head_dim / 2]; None for other models."""
        if self.spec.rotary.kind != "llama3":
            return None
        parameters = self.rope_parameters
        factor, low, high, context = (
            float(parameters[key])
            for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        )
        size = self.spec.head_dim
        wavelengths = 2 * math.pi * self.spec.rotary.theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
        smooth = ((context / wavelengths - low) / (high - low)).clamp(0, 1)
        return (1 / ((1 - smooth) / factor + smooth)).float()
