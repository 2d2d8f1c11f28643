"""The value of `--to`: a target and, for GGUF, the types of its weights."""

from dataclasses import dataclass
from typing import Literal, get_args

from luthier.language import say
from luthier.types.errors import ExportError

Kind = Literal["peft", "merged", "gguf", "gguf-lora", "ollama", "vllm"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GGUF_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_0")
_DEFAULT_TYPES: dict[Kind, tuple[str, ...]] = {"gguf": ("q8_0",), "ollama": ("q8_0",)}


@dataclass(frozen=True)
class Target:
    """An export target; `types` are its GGUF types, one file each, empty for targets other than GGUF."""

    kind: Kind
    types: tuple[str, ...] = ()


def parse_target(text: str) -> Target:
    """Parses `KIND`, `gguf:TYPE,TYPE` or `ollama:TYPE`. Raises ExportError for anything else."""
    name, colon, listed = text.lower().partition(":")
    kind = next((kind for kind in KINDS if kind == name), None)
    if kind is None:
        raise ExportError(
            say(
                f"'{text}' is not a target. Targets: {', '.join(KINDS)}.",
                f"“{text}”不是导出目标。可用：{', '.join(KINDS)}。",
            )
        )
    if kind not in _DEFAULT_TYPES:
        if colon:
            raise ExportError(say(f"'{kind}' takes no types: --to {kind}.", f"{kind} 不带类型：--to {kind}。"))
        return Target(kind)
    types = tuple(dict.fromkeys(part.strip() for part in listed.split(",") if part.strip()))
    for quantization in types:
        _check_type(quantization)
    if kind == "ollama" and len(types) > 1:
        raise ExportError(
            say("An Ollama folder has one GGUF file: give one type, such as ollama:q8_0.",
                "Ollama 文件夹只含一个 GGUF 文件：请只写一种类型，例如 ollama:q8_0。"))  # fmt: skip
    return Target(kind, types or _DEFAULT_TYPES[kind])


def _check_type(name: str) -> None:
    """Raises ExportError for a GGUF type that Luthier cannot write."""
    if name in GGUF_TYPES:
        return
    if "_k" in name or name.startswith("iq"):
        raise ExportError(
            say(
                f"Only llama.cpp can write '{name}': export gguf:f16, then run `llama-quantize model-f16.gguf "
                f"model-{name}.gguf {name.upper()}`.",
                f"{name} 只能由 llama.cpp 写出：请先导出 gguf:f16，然后运行 "
                f"`llama-quantize model-f16.gguf model-{name}.gguf {name.upper()}`。",
            )
        )
    listed = ", ".join(GGUF_TYPES)
    raise ExportError(
        say(f"'{name}' is not a GGUF type. Types: {listed}.", f"“{name}”不是 GGUF 类型。可用：{listed}。")
    )
