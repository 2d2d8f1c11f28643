"""The batched engine, in PyTorch on CPU and GPU: one pass decodes all running sequences; each prefill chunk has its
own pass."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from luthier.inference.engine import Token
from luthier.inference.engines.model_loading import hardware_of
from luthier.inference.engines.stacked_lora import LoraBatch, StackedLora
from luthier.inference.engines.torch.attention import decode_attention, prefill_attention
from luthier.inference.engines.torch.decoder import Decoder
from luthier.inference.engines.torch.logprobs import token_logprobs
from luthier.inference.memory.row_cache import CacheShape, Row, RowCache
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.options import EngineOptions

_RECOMPUTED_TOKENS = 512  # in a pass


class TorchRunner(ModelRunner):
    kv_cache: RowCache
    adapters: StackedLora

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        device, dtype = hardware_of(options, base)
        self._model = Decoder(base, device, dtype)
        spec = self._model.spec
        self.context_tokens = spec.context_tokens
        self.kv_cache = RowCache(
            CacheShape(spec.layers, spec.kv_heads, spec.head_dim, spec.context_tokens, dtype, device)
        )
        self.adapters = StackedLora(self._model, options.max_loras)

    def thread_context(self) -> AbstractContextManager[object]:
        return torch.inference_mode()

    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        return self._outputs(chunks, hidden).float().cpu().numpy()

    def logprobs(self, chunk: Chunk, targets: Sequence[int], top: int) -> list[Token]:
        """Score a chunk. On a GPU, the logits of hundreds of positions stay there; on a CPU, NumPy is faster."""
        if self._model.device.type == "cpu":
            return super().logprobs(chunk, targets, top)
        return token_logprobs(self._outputs([chunk], hidden=False), targets, top)

    def _outputs(self, chunks: Sequence[Chunk], hidden: bool) -> torch.Tensor:
        """[N, V] or [N, D], on the model's device."""
        decodes = [index for index, chunk in enumerate(chunks) if chunk.decode]
        states = dict(zip(decodes, self._decode([chunks[index] for index in decodes])[:, None], strict=True))
        for index, chunk in enumerate(chunks):
            if not chunk.decode:
                states[index] = self._prefill(chunk)
        rows = torch.cat([states[index][len(chunk.token_ids) - chunk.outputs :] for index, chunk in enumerate(chunks)])
        return rows if hidden else self._model.logits(rows)

    def _prefill(self, chunk: Chunk) -> torch.Tensor:
        """Hidden states [T, D]."""
        self._update_rotation(chunk)
        return self._hidden_states(chunk.cache, chunk.token_ids, chunk.past, chunk.lora_slot)

    def _update_rotation(self, chunk: Chunk) -> None:
        """With LongRoPE, recompute a sequence's past if its length now requires the long factors."""
        row, short_tokens = chunk.cache, self._model.spec.rotary.short_tokens
        tokens = max(chunk.past + len(chunk.token_ids), chunk.prompt_tokens)
        is_long = short_tokens is not None and tokens > short_tokens
        if row.is_long != is_long:
            row.is_long = is_long
            for start in range(0, chunk.past, _RECOMPUTED_TOKENS):
                ids = chunk.past_ids[start : min(start + _RECOMPUTED_TOKENS, chunk.past)]
                self._hidden_states(row, ids, start, chunk.lora_slot)

    def _hidden_states(self, row: Row, ids: Sequence[int], start: int, slot: int | None) -> torch.Tensor:
        """Hidden states [T, D] of tokens of one sequence, from position `start` on."""
        count, device = len(ids), self._model.device
        row.buffer.reserve(row.index + 1, start + count)
        states = self._model.hidden(
            torch.tensor(ids, device=device),
            torch.arange(start, start + count, device=device),
            prefill_attention(row, start, count, self._model.spec),
            LoraBatch(self.adapters, [slot]),
            self._is_long([row] * count),
        )
        row.length, row.lora_slot = start + count, slot
        return states

    def _is_long(self, rows: Sequence[Row]) -> torch.Tensor | None:
        """bool [T], for the row of each token; None if the rotation does not depend on the length of a sequence."""
        if self._model.spec.rotary.short_tokens is None:
            return None
        return torch.tensor([row.is_long for row in rows], device=self._model.device)

    def _decode(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Hidden states [B, D] of one token each; rows between them that are not scheduled are computed and
        discarded."""
        if not chunks:
            return torch.empty(0, 0)
        for chunk in chunks:
            self._update_rotation(chunk)
        cache, device = self.kv_cache, self._model.device
        ids = {chunk.cache.index: chunk.token_ids[0] for chunk in chunks}
        rows: list[Row] = cache.rows[: max(ids) + 1]
        positions = [min(row.length, self.context_tokens - 1) for row in rows]
        cache.buffer.reserve(len(rows), max(positions) + 1)
        states = self._model.hidden(
            torch.tensor([ids.get(index, 0) for index in range(len(rows))], device=device),
            torch.tensor(positions, device=device),
            decode_attention(cache.buffer, positions, self._model.spec),
            LoraBatch(self.adapters, [row.lora_slot for row in rows]),
            self._is_long(rows),
        )
        for chunk in chunks:
            chunk.cache.length += 1
        return states[list(ids)]
