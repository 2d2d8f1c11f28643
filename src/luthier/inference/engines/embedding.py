"""Embedding models: folders as sentence-transformers writes them, with the pooling of `1_Pooling/config.json`."""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from luthier.inference.engines.model_loading import hardware_of, load_model
from luthier.inference.logprobs import unit_vector
from luthier.inference.options import EngineOptions
from luthier.inference.scheduling.fairness import AdmissionControl
from luthier.types.errors import BaseModelError, without_path

Pooling = Literal["cls", "mean", "last"]
_MODES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
_MODULES = {"Transformer", "Pooling", "Normalize"}  # of sentence-transformers, as far as they are supported
_PASS_TOKENS = 2048
_MAX_CONTEXT_TOKENS = 8192


class EmbeddingModel:
    """An embedding model. One thread owns it; requests run in the order of arrival."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        self._device, dtype = hardware_of(options, folder)
        try:
            self._pooling = _pooling(folder)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            model = load_model(AutoModel, folder, dtype)
        except Exception as error:  # tokenizers raises plain Exception
            raise BaseModelError(
                f"The embedding model {folder.name} cannot be loaded: {without_path(error, folder)}"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._model = model.to(self._device)
        self.context_tokens = _context_tokens(folder, self._model.config)
        self._admission = AdmissionControl(options.max_requests_per_key)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="luthier-embedding")

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def idle(self) -> bool:
        return self._admission.idle

    def text(self, text: str) -> list[int]:
        """Token ids, with the model's special tokens around them."""
        return self._tokenizer.encode(text).ids

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None = None) -> "Future[list[list[float]]]":
        """For each prompt float [D] of length 1. Raises RateLimitError."""
        key = self._admission.acquire()
        future = self._thread.submit(self._embed, prompts)
        future.add_done_callback(lambda _: self._admission.release(key))
        return future

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    @torch.inference_mode()
    def _embed(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        """Embed prompts; those of similar length share a pass with masked padding, the longest first."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        vectors: dict[int, list[float]] = {}
        while order:
            width = len(prompts[order[-1]])
            batch = [order.pop() for _ in range(min(len(order), max(1, _PASS_TOKENS // width)))]
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, index in enumerate(batch):
                ids[row, : len(prompts[index])] = torch.tensor(prompts[index])
                mask[row, : len(prompts[index])] = 1
            output = self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device))
            states = output.last_hidden_state.float().cpu().numpy()  # [B, T, D]
            for row, index in enumerate(batch):
                vectors[index] = unit_vector(self._pool(states[row, : len(prompts[index])]))
        return [vectors[index] for index in range(len(prompts))]

    def _pool(self, states: np.ndarray) -> np.ndarray:
        """float [T, D] -> float [D]."""
        vector: np.ndarray = states.mean(0) if self._pooling == "mean" else states[0 if self._pooling == "cls" else -1]
        return vector


def _pooling(folder: Path) -> Pooling:
    """The pooling of the folder; by default the mean. Raises BaseModelError for unsupported modules."""
    modules = [str(module["type"]).rpartition(".")[2] for module in _read_json(folder / "modules.json", [])]
    if not set(modules) <= _MODULES:
        raise BaseModelError(f"its steps are {', '.join(modules)}; understood are {', '.join(sorted(_MODULES))}")
    config = _read_json(folder / "1_Pooling" / "config.json", {})
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if not modes:
        return "mean"
    if len(modes) > 1 or modes[0] not in _MODES:
        raise BaseModelError(f"its pooling is {', '.join(modes)}; understood are {', '.join(_MODES)}")
    return _MODES[modes[0]]


def _context_tokens(folder: Path, config: Any) -> int:
    """The smallest limit of the model, its tokenizer and sentence-transformers."""
    limits = [
        getattr(config, "max_position_embeddings", None),
        _read_json(folder / "tokenizer_config.json", {}).get("model_max_length"),
        _read_json(folder / "sentence_bert_config.json", {}).get("max_seq_length"),
    ]
    return int(min(limit for limit in [*limits, _MAX_CONTEXT_TOKENS] if limit))


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default
