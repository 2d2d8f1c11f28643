"""A model made for embeddings: texts become vectors in the way that its own folder describes.

Reads what sentence-transformers writes: the model, and in `1_Pooling` how hidden states become one vector.
Knows nothing about adapters or answers.
"""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from luthier.hardware import choose as choose_hardware
from luthier.inference.engines.model_loading import load
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.fairness import Admission
from luthier.inference.scheduling.scoring import unit
from luthier.types.errors import BaseModelError

Pooling = Literal["cls", "mean", "last"]
_MODES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
_STEPS = {"Transformer", "Pooling", "Normalize"}  # of sentence-transformers, as far as they are understood here
_PASS_TOKENS = 2048


class Encoder:
    """One thread owns the model; requests wait for one another."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        device, precision = choose_hardware(options.device, options.precision)
        self._device = torch.device(device)
        try:
            self._pooling = _pooling(folder)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            model = load(AutoModel, folder, getattr(torch, precision))
        except Exception as error:  # the tokenizer's own errors are of no narrower kind
            raise BaseModelError(f"The embedding model {folder.name} cannot be loaded: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._model = model.to(self._device)
        self.context_tokens = _context_tokens(folder, self._model.config)
        self._admission = Admission(options.queue_limit)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="luthier-encoder")

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def idle(self) -> bool:
        return self._admission.idle

    def text(self, text: str) -> list[int]:
        """The token ids of a text, with the special tokens that the model wants around it."""
        return self._tokenizer.encode(text).ids

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None = None) -> "Future[list[list[float]]]":
        """For each prompt float [D] of length 1. Raises RateLimitError."""
        key = self._admission.enter()
        made = self._thread.submit(self._embed, prompts)
        made.add_done_callback(lambda _: self._admission.leave(key))
        return made

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    @torch.inference_mode()
    def _embed(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        """Prompts of like length share a pass; padding is masked."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        made: dict[int, list[float]] = {}
        while order:
            width = len(prompts[order[-1]])
            batch = [order.pop() for _ in range(min(len(order), max(1, _PASS_TOKENS // width)))]
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, at in enumerate(batch):
                ids[row, : len(prompts[at])] = torch.tensor(prompts[at])
                mask[row, : len(prompts[at])] = 1
            hidden = self._model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
            ).last_hidden_state  # [B, T, D]
            for row, at in enumerate(batch):
                made[at] = unit(self._pooled(hidden[row, : len(prompts[at])].float()))
        return [made[at] for at in range(len(prompts))]

    def _pooled(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden float [T, D] → float [D]."""
        if self._pooling == "mean":
            return hidden.mean(0)
        return hidden[0 if self._pooling == "cls" else -1]


def _pooling(folder: Path) -> Pooling:
    """As the folder says; the mean where it says nothing. Raises BaseModelError for what is not understood here."""
    steps = [str(step["type"]).rpartition(".")[2] for step in _read(folder / "modules.json", [])]
    if not set(steps) <= _STEPS:
        raise BaseModelError(f"its steps are {', '.join(steps)}; understood are {', '.join(sorted(_STEPS))}")
    said = _read(folder / "1_Pooling" / "config.json", {})
    chosen = [key for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
    if not chosen:
        return "mean"
    if len(chosen) > 1 or chosen[0] not in _MODES:
        raise BaseModelError(f"its pooling is {', '.join(chosen)}; understood are {', '.join(_MODES)}")
    return _MODES[chosen[0]]


def _context_tokens(folder: Path, config: Any) -> int:
    """The shortest of what the model, its tokenizer and its makers say."""
    said = [
        getattr(config, "max_position_embeddings", None),
        _read(folder / "tokenizer_config.json", {}).get("model_max_length"),
        _read(folder / "sentence_bert_config.json", {}).get("max_seq_length"),
    ]
    return int(min(limit for limit in [*said, 8192] if limit))


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise
