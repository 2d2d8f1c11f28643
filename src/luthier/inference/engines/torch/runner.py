"""The batched engine, in PyTorch on CPU and GPU: one pass decodes all running sequences; a prefill chunk is its own."""

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


class TorchRunner(ModelRunner):
    kv_cache: RowCache
    adapters: StackedLora

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        device, dtype = hardware_of(options)
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
        """On a GPU, the logits of hundreds of positions stay there; on a CPU, NumPy is faster."""
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
        row, start, count, device = chunk.cache, chunk.past, len(chunk.token_ids), self._model.device
        row.buffer.reserve(row.index + 1, start + count)
        states = self._model.hidden(
            torch.tensor(chunk.token_ids, device=device),
            torch.arange(start, start + count, device=device),
            prefill_attention(row, start, count, self._model.spec),
            LoraBatch(self.adapters, [chunk.lora_slot]),
        )
        row.length, row.lora_slot = start + count, chunk.lora_slot
        return states

    def _decode(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Hidden states [B, D] of one token each; rows between them that are not scheduled are computed and dropped."""
        if not chunks:
            return torch.empty(0, 0)
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
        )
        for chunk in chunks:
            chunk.cache.length += 1
        return states[list(ids)]
