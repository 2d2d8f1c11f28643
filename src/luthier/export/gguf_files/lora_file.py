"""A LoRA adapter as a GGUF file, which llama.cpp loads on top of a GGUF file of its base (`llama-server --lora`)."""

from pathlib import Path

from gguf import MODEL_ARCH_NAMES, GGUFWriter

from luthier.export.adapter import Adapter
from luthier.export.gguf_files.architecture import Architecture
from luthier.export.source import ExportSource


def write_lora(source: ExportSource, adapter: Adapter, path: Path) -> None:
    """Writes the adapter in float32.

    GGUF stores one alpha for all layers, so each layer's scale is multiplied into its B, and alpha is 0, which
    llama.cpp reads as no further scaling.

    Raises:
        ExportError: llama.cpp does not support the model or one of the layers.
        OSError: The file cannot be written.
    """
    architecture = Architecture.of(source.base, source.decoder)
    writer = GGUFWriter(path, arch=str(MODEL_ARCH_NAMES[architecture.kind]))
    try:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 0.0)
        writer.add_name(source.model.id)
        for layer in adapter:
            name = f"{layer}.weight"
            mapped, (a, b) = architecture.tensor_name(name), adapter.scaled(layer)
            writer.add_tensor(f"{mapped}.lora_a", a.contiguous().numpy())
            writer.add_tensor(f"{mapped}.lora_b", architecture.reordered(name, b).contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
