"""The weights of a Llama-like base model as NumPy arrays, read from its folder one by one."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from luthier.arch import DecoderSpec, Feature
from luthier.arch.projections import linear_names, output_sizes, shapes
from luthier.arch.text_model import TEXT_WEIGHTS
from luthier.base_config import read_config
from luthier.devices import Precision
from luthier.inference.engines import bfloat16
from luthier.inference.engines.stored_tensors import StoredTensors
from luthier.types.errors import BaseModelError, without_path

_BODY, _EMBEDDINGS, _LM_HEAD, _NORM = "model.", "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
_NORMS = ("input_layernorm", "post_attention_layernorm")


class BaseWeights:
    """Matrices and vectors are rounded to `precision`; see `bfloat16.py` for how that looks.

    `embeddings`: None if they are tied to the LM head. `lm_head`, `norm`: the final ones.
    """

    def __init__(self, base: Path, spec: DecoderSpec, precision: Precision) -> None:
        """Raises BaseModelError for a folder that lacks weights, or whose weights have other shapes than `spec`."""
        self._base, self._precision = base, precision
        try:
            self._tensors = StoredTensors(_files(base), _text_name)
        except (OSError, ValueError, SafetensorError) as error:
            raise BaseModelError(f"The base model {base.name} cannot be loaded: {without_path(error, base)}") from error
        tied = self._are_tied(spec)
        stored = self._tensors.shapes
        self._lm_head = _LM_HEAD if _LM_HEAD in stored else _EMBEDDINGS
        self._embeddings = None if tied else _EMBEDDINGS
        self._matrices = _matrix_shapes(spec) | dict.fromkeys(
            filter(None, (self._lm_head, self._embeddings)), (spec.vocab_size, spec.hidden_size)
        )
        self._check(self._matrices | _vector_shapes(spec))

    @property
    def lm_head(self) -> np.ndarray:
        return self.rows([self._lm_head])

    @property
    def embeddings(self) -> np.ndarray | None:
        return self.rows([self._embeddings]) if self._embeddings else None

    @property
    def norm(self) -> np.ndarray:
        return self.vector([_NORM])

    def rows(self, names: Iterable[str]) -> np.ndarray:
        """The rows of several matrices, in the precision."""
        return np.concatenate([self._read(name) for name in names])

    def vector(self, names: Iterable[str]) -> np.ndarray:
        """The elements of several vectors, rounded to the precision, in float32."""
        return bfloat16.widened(self.rows(names))

    def fit_bfloat16(self) -> bool:
        """Whether bfloat16 represents all matrices exactly."""
        return all(
            self._tensors.is_bfloat16(name)
            or np.array_equal(bfloat16.widened(bfloat16.rounded(values := self._read(name))), bfloat16.widened(values))
            for name in self._matrices
        )

    def _read(self, name: str) -> np.ndarray:
        try:
            values = self._tensors.read(name)
        except (OSError, ValueError) as error:
            message = f"The base model {self._base.name} cannot be loaded: {without_path(error, self._base)}"
            raise BaseModelError(message) from error
        return bfloat16.widened(values) if self._precision == "float32" else bfloat16.rounded(values)

    def _are_tied(self, spec: DecoderSpec) -> bool:
        """Whether embeddings and LM head are tied: according to the config, unless the files have two different
        matrices.

        The config of a checkpoint with several towers is not reliable in this respect.
        """
        stored = self._tensors.shapes
        if isinstance(read_config(self._base).get("text_config"), Mapping):
            return _LM_HEAD not in stored
        if Feature.TIED_EMBEDDINGS not in spec.features:
            return False
        both = {_LM_HEAD, _EMBEDDINGS} <= stored.keys()
        return not both or np.array_equal(self._read(_LM_HEAD), self._read(_EMBEDDINGS))

    def _check(self, expected: dict[str, tuple[int, ...]]) -> None:
        stored = self._tensors.shapes
        if missing := sorted(expected.keys() - stored.keys()):
            raise BaseModelError(
                f"The base model {self._base.name} lacks {len(missing)} weights, such as {missing[0]}."
            )
        for name, shape in expected.items():
            if stored[name] != shape:
                raise BaseModelError(
                    f"The base model {self._base.name} cannot be loaded: its weight {name} has the shape "
                    f"{list(stored[name])}, and by its config.json it has {list(shape)}."
                )


def layer_name(layer: int, part: str) -> str:
    """The name of a layer's weight, such as `self_attn.q_proj.weight`."""
    return f"{_BODY}layers.{layer}.{part}"


def _files(base: Path) -> list[Path]:
    """The weight files that transformers would read. Raises OSError, ValueError."""
    whole, index = base / "model.safetensors", base / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return [whole]
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [base / Path(name).name for name in sorted(set(names))]


def _text_name(name: str) -> str:
    """The name of a weight in the text model; a model saved without its head lacks the first part of it."""
    for pattern, replacement in TEXT_WEIGHTS.items():
        name = re.sub(pattern, replacement, name)
    return name if name.startswith((_BODY, _LM_HEAD)) else f"{_BODY}{name}"


def _matrix_shapes(spec: DecoderSpec) -> dict[str, tuple[int, ...]]:
    """Of the linear layers, by name."""
    sizes = output_sizes(spec)
    return {
        layer_name(layer, f"{linear}.weight"): (outputs, shapes(spec)[projection][0])
        for layer in range(spec.layers)
        for projection, linears in linear_names(spec).items()
        for linear, outputs in zip(linears, sizes[projection], strict=True)
    }


def _vector_shapes(spec: DecoderSpec) -> dict[str, tuple[int, ...]]:
    """Of norms and biases, by name."""
    vectors: dict[str, tuple[int, ...]] = {_NORM: (spec.hidden_size,)}
    for layer in range(spec.layers):
        vectors |= {layer_name(layer, f"{norm}.weight"): (spec.hidden_size,) for norm in _NORMS}
        if Feature.QKV_BIAS in spec.features:
            biases = zip(linear_names(spec)["qkv"], output_sizes(spec)["qkv"], strict=True)
            vectors |= {layer_name(layer, f"{linear}.bias"): (outputs,) for linear, outputs in biases}
    return vectors
