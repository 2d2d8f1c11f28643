"""The transformers engine: any architecture, with PEFT adapters, one sequence per pass.

transformers has no batch of sequences with different adapters, so one sequence of each key runs per step.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.utils import logging as transformers_logging

from luthier.arch.peft_rounding import round_once
from luthier.inference.engines.model_loading import hardware_of, load_base
from luthier.inference.memory.lora_slots import LoraSlots
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.options import EngineOptions
from luthier.types.errors import BaseModelError

transformers_logging.set_verbosity_error()
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")

_PROBE_TOKENS = 8
_MAX_DIFFERENCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # of the largest logit; rounding is far below
_UNSET = -1  # the active slot after PEFT has changed it


class DynamicCaches:
    """A KVCache with a transformers cache for each sequence. Prefixes are not shared."""

    def __init__(self, config: Any, token_bytes: int) -> None:
        """`token_bytes`: bytes per token in all layers."""
        self._config, self._token_bytes = config, token_bytes

    def allocate(self, tokens: int, prefix: tuple[None, int] | None, *, private: bool) -> DynamicCache:
        return DynamicCache(config=self._config)  # layers differ in what they store

    def free(self, handle: DynamicCache) -> None:
        """Nothing to do: the garbage collector frees it."""

    def prefix_bytes(self, handle: DynamicCache, tokens: int) -> int:
        return 0

    def save_prefix(self, handle: DynamicCache, tokens: int) -> None:
        raise NotImplementedError("the transformers engine has no prefix caching")

    def release_prefix(self, prefix: None) -> None:
        pass

    def required_bytes(self, lengths: Sequence[int]) -> int:
        return sum(lengths) * self._token_bytes


class PeftSlots(LoraSlots[str]):
    """Adapters inside a PEFT model; a slot is a PEFT adapter name."""

    def __init__(self, model: Any, dtype: torch.dtype, max_loras: int) -> None:
        super().__init__(max_loras)
        self.model, self._dtype = model, dtype
        self._names: dict[int, str] = {}
        self._loads = 0
        self._active: int | None = None

    def load(self, adapter: Path) -> str:
        self._loads += 1
        name = f"adapter{self._loads}"
        self._active = _UNSET
        if isinstance(self.model, PeftModel):
            self.model.load_adapter(str(adapter), name)
        else:
            self.model = PeftModel.from_pretrained(self.model, str(adapter), name).eval()
        # PEFT loads adapters in float32; products with them run in the base model's dtype, as in training.
        for key, parameter in self.model.named_parameters():
            if f".{name}." in key:
                parameter.data = parameter.data.to(self._dtype)
                parameter.requires_grad_(False)
        round_once(self.model)
        return name

    def store(self, slot: int, weights: str) -> None:
        if slot in self._names:
            self.model.delete_adapter(self._names.pop(slot))
        self._names[slot] = weights
        self._active = _UNSET  # deleting an adapter activates another

    def activate(self, slot: int | None) -> Any:
        """The model with the adapter of a slot, or None for the base model."""
        if slot != self._active:
            if slot is None:
                if isinstance(self.model, PeftModel):
                    self.model.base_model.disable_adapter_layers()
            else:
                self.model.set_adapter(self._names[slot])
                self.model.base_model.enable_adapter_layers()
            self._active = slot
        return self.model


class TransformersRunner(ModelRunner):
    batched = False
    prefill_tokens = None  # some architectures of transformers cannot continue a prompt
    prefix_caching = False
    adapters: PeftSlots

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        self._device, dtype = hardware_of(options, base)
        model = load_base(base, dtype).to(self._device)
        try:
            cache = _probe_cache(model)
        except _UndecodableError as error:
            message = f"The base model {base.name} cannot be served: {type(model).__name__} {error}."
            raise BaseModelError(message) from error
        self.context_tokens: int = getattr(model.config, "max_position_embeddings", None) or 4096
        self.kv_cache = DynamicCaches(model.config, _token_bytes(cache))
        self.adapters = PeftSlots(model, dtype, options.max_loras)

    def thread_context(self) -> AbstractContextManager[object]:
        return torch.inference_mode()

    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        if hidden and len(chunks) > 1:
            return self._padded_states(chunks)
        return np.concatenate([self._outputs(chunk, hidden).float().cpu().numpy() for chunk in chunks])

    def _outputs(self, chunk: Chunk, hidden: bool) -> torch.Tensor:
        model = self.adapters.activate(chunk.lora_slot)
        ids = torch.tensor([chunk.token_ids], device=self._device)
        if hidden:
            states = _body(model)(input_ids=ids, past_key_values=chunk.cache, use_cache=True).last_hidden_state[0]
        else:
            arguments = {"past_key_values": chunk.cache, "use_cache": True, "logits_to_keep": max(chunk.outputs, 1)}
            states = model(input_ids=ids, **arguments).logits[0]
        rows: torch.Tensor = states[len(states) - chunk.outputs :]
        return rows

    def _padded_states(self, chunks: Sequence[Chunk]) -> np.ndarray:
        """Run complete prompts in one pass. Padding is at the end, where no token sees it under causal attention."""
        model = self.adapters.activate(chunks[0].lora_slot)
        ids = torch.zeros((len(chunks), max(len(chunk.token_ids) for chunk in chunks)), dtype=torch.long)
        for row, chunk in enumerate(chunks):
            ids[row, : len(chunk.token_ids)] = torch.tensor(chunk.token_ids)
        states = _body(model)(input_ids=ids.to(self._device), use_cache=False).last_hidden_state.float().cpu()
        return np.concatenate([rows[: len(chunk.token_ids)] for rows, chunk in zip(states, chunks, strict=True)])


def _body(model: Any) -> Any:
    """The model without its LM head; adapters are inside it."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.base_model


class _UndecodableError(ValueError):
    """The reason why a model cannot be served, as the predicate of a sentence."""


@torch.inference_mode()
def _probe_cache(model: Any) -> DynamicCache:
    """The cache of some tokens. Raises _UndecodableError if decoding with it gives a different result than one pass."""
    if "past_key_values" not in signature(model.forward).parameters:
        raise _UndecodableError("keeps its state in a cache of its own kind")
    ids = torch.arange(_PROBE_TOKENS, device=model.device)[None] % model.config.vocab_size
    whole = model(input_ids=ids, use_cache=False).logits[0, -1].float()
    try:
        cache = DynamicCache(config=model.config)
        for part in ids.split([_PROBE_TOKENS - 2, 1, 1], dim=1):
            cached = model(input_ids=part, past_key_values=cache, use_cache=True).logits[0, -1].float()
    except (IndexError, KeyError, ValueError) as error:
        raise _UndecodableError(f"cannot decode with a cache ({error})") from error
    limit = _MAX_DIFFERENCE.get(model.dtype, 0.1) * float(whole.abs().max())
    if float((cached - whole).abs().max()) > limit:
        raise _UndecodableError("gives other logits when it decodes with a cache than in one pass")
    return cache


def _token_bytes(cache: DynamicCache) -> int:
    """Bytes per token in the attention layers of the probe; layers differ in their heads."""
    tensors = [getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values")]
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor)) // _PROBE_TOKENS
