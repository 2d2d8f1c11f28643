"""A merged model as one GGUF file, written in two passes: names and sizes first, then the weights one at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    quant_shape_to_byte_shape,
)
from gguf.quants import quantize

from luthier.export.gguf_files.architecture import Architecture
from luthier.export.gguf_files.vocabulary import add_vocabulary
from luthier.export.merge import MergedWeights, is_tied
from luthier.export.source import ExportSource

_FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q5_1": LlamaFileType.MOSTLY_Q5_1,
    "q5_0": LlamaFileType.MOSTLY_Q5_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
}
_BELOW_8_BITS = ("q5_1", "q5_0", "q4_0")
_OUTER = ("token_embd.weight", "output.weight")  # a large part of a small model, and sensitive to rounding
_ROPE_FACTORS = "rope_freqs.weight"


class _Plan(NamedTuple):
    """A tensor as it will be written: llama.cpp's name, the shape [rows, columns] or [columns], the GGML type."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType

    @property
    def byte_count(self) -> int:
        block, size = GGML_QUANT_SIZES[self.kind]
        return int(np.prod(self.shape)) // block * size


class ModelFile:
    """The model of `source` with its weights rounded to `quantization`, one of the GGUF types."""

    def __init__(self, source: ExportSource, quantization: str, weights: MergedWeights | None = None) -> None:
        """Plans the file; `weights` replaces those of the source.

        Raises:
            ExportError: llama.cpp would not compute the model as it was trained.
        """
        self._source, self._quantization, self._weights = source, quantization, weights or source.weights
        self._architecture = Architecture.of(source.base, source.decoder)
        self._plans = {name: self._plan(name, tuple(shape)) for name, shape in self._written_shapes().items()}

    @property
    def byte_count(self) -> int:
        """The size of the weights in bytes, without the metadata, which take a few megabytes."""
        return sum(plan.byte_count for plan in self._plans.values())

    def write(self, path: Path) -> None:
        """Writes the file. Raises ExportError for an unsupported tokenizer, and OSError."""
        writer = GGUFWriter(path, arch=self._architecture_name)
        factors = self._architecture.rope_factors()
        try:
            self._add_metadata(writer)
            if factors is not None:
                writer.add_tensor_info(_ROPE_FACTORS, tuple(factors.shape), np.dtype(np.float32), factors.nbytes)
            for plan in self._plans.values():
                shape = quant_shape_to_byte_shape(plan.shape, plan.kind)
                writer.add_tensor_info(plan.name, shape, np.dtype(np.uint8), plan.byte_count, raw_dtype=plan.kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            if factors is not None:
                writer.write_tensor_data(factors.numpy())
            self._write_weights(writer)
        finally:
            writer.close()

    @property
    def _architecture_name(self) -> str:
        return str(MODEL_ARCH_NAMES[self._architecture.kind])

    def _written_shapes(self) -> Mapping[str, list[int]]:
        shapes = self._weights.shapes
        tied = is_tied(self._source.base)
        return {name: shape for name, shape in shapes.items() if not (tied and name == "lm_head.weight")}

    def _plan(self, name: str, shape: tuple[int, ...]) -> _Plan:
        mapped = self._architecture.tensor_name(name)
        quantization = "f32" if len(shape) == 1 else self._quantization
        if mapped in _OUTER and quantization in _BELOW_8_BITS:
            quantization = "q8_0"
        kind = GGMLQuantizationType[quantization.upper()]
        if shape[-1] % GGML_QUANT_SIZES[kind][0]:
            kind = GGMLQuantizationType.F16  # quantized rows must be a whole number of blocks
        return _Plan(mapped, shape, kind)

    def _add_metadata(self, writer: GGUFWriter) -> None:
        source = self._source
        writer.add_type("model")
        writer.add_name(source.model.id)
        if source.origin.licence:
            writer.add_license(source.origin.licence)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        writer.add_file_type(_FILE_TYPES[self._quantization])
        self._architecture.add_sizes(writer)
        rows = next(plan.shape[0] for plan in self._plans.values() if plan.name == "token_embd.weight")
        add_vocabulary(writer, source.base, source.renderer, rows)

    def _write_weights(self, writer: GGUFWriter) -> None:
        for name, tensor, _ in self._weights:
            plan = self._plans.get(name)
            if plan:
                rows = self._architecture.reordered(name, tensor).to(torch.float32).contiguous().numpy()
                data = quantize(rows, plan.kind)
                writer.write_tensor_data(data.view(np.uint8) if data.dtype != np.uint8 else data)
