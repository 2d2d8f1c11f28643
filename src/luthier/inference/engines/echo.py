"""The echo engine: no model, no torch. It repeats the prompt token by token and ends; for testing clients.

Everything around the model is real: the queue, scheduling, sampling parameters, structured outputs, usage.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luthier.inference.engine import EngineRequest
from luthier.inference.memory.kv_cache import NoCache
from luthier.inference.memory.lora_slots import IgnoredLora
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.options import EngineOptions
from luthier.types.errors import BaseModelError, without_path

_LIKELY = 10.0  # the logit of the next token; all others have 0
_HIDDEN_SIZE = 64


class EchoRunner(ModelRunner):
    prefix_caching = False
    max_prefills = None

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        try:
            config = json.loads((base / "config.json").read_text(encoding="utf-8"))
            self._vocabulary_size = int(config["vocab_size"])
        except (OSError, ValueError, KeyError) as error:
            raise BaseModelError(f"The base model {base.name} cannot be loaded: {without_path(error, base)}") from error
        self.context_tokens: int = config.get("max_position_embeddings") or 4096
        self.kv_cache = NoCache()
        self.adapters = IgnoredLora(options.max_loras)

    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        likely = [tokens for chunk in chunks for tokens in self._next_tokens(chunk)]
        rows = np.zeros((len(likely), _HIDDEN_SIZE if hidden else self._vocabulary_size), np.float32)
        for row, tokens in zip(rows, likely, strict=True):
            if hidden:
                row[tokens[0] % _HIDDEN_SIZE] = 1  # embeddings count the tokens of a prompt, folded
            else:
                row[tokens] = _LIKELY
        return rows

    def _next_tokens(self, chunk: Chunk) -> list[list[int]]:
        """The likely tokens after each output position; without a request, every token is predicted to repeat."""
        if chunk.request is None:
            ids = chunk.token_ids
            return [[token] for token in ids[len(ids) - chunk.outputs :]]
        if not chunk.outputs:
            return []
        return [_echo(chunk.request, chunk.past + len(chunk.token_ids) - len(chunk.request.prompt))]


def _echo(request: EngineRequest, generated: int) -> list[int]:
    """The prompt without stop tokens, followed by a stop token or, without any, by the prompt repeated endlessly."""
    stop_ids = request.sampling.stop_ids
    text = [token for token in request.prompt if token not in stop_ids]
    if not text or (generated >= len(text) and stop_ids):
        return sorted(stop_ids)
    return [text[generated % len(text)]]
