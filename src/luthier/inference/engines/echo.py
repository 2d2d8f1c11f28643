"""An engine without a model: it says the prompt back, token by token, and ends. For trying out clients and for tests.

Everything around a model is as it is elsewhere: the queue, turns, sampling parameters, grammars, usage.
"""

import json
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

import torch

from luthier.inference.engine import Token
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.loop import Pass, Stream, Turns
from luthier.inference.scheduling.scoring import unit
from luthier.types.errors import BaseModelError

_SURE = 10.0  # the logit of the token that comes next; all others have 0
_WIDTH = 64


class EchoEngine(Turns):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        super().__init__(base, options)
        try:
            config = json.loads((base / "config.json").read_text(encoding="utf-8"))
            self._size = int(config["vocab_size"])
            self.context_tokens: int = config.get("max_position_embeddings") or 4096
        except (OSError, ValueError, KeyError) as error:
            raise BaseModelError(f"The base model {base.name} cannot be loaded: {error}") from error
        self.start()

    def advance(self, due: list[Stream]) -> None:
        for stream in due:
            said, stop_ids = stream.counts.total(), stream.generation.sampling.stop_ids
            text = [token for token in stream.generation.prompt if token not in stop_ids]
            over = not text or (said >= len(text) and stop_ids)
            self.chosen(stream, self._logits(sorted(stop_ids) if over else [text[said % len(text)]]))

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        """Counts of tokens, by id, folded to a few places."""
        return self.queued(lambda: Pass(self._embeddings(prompts))).result

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        return self.queued(lambda: Pass(self._scores(prompt[start - 1 :], top))).result

    def _embeddings(self, prompts: Sequence[list[int]]) -> Generator[None, None, list[list[float]]]:
        made = [unit(torch.bincount(torch.tensor(one) % _WIDTH, minlength=_WIDTH).float()) for one in prompts]
        yield
        return made

    def _scores(self, prompt: list[int], top: int) -> Generator[None, None, list[Token]]:
        """Each token is thought to come again."""
        made = []
        for before, token in pairwise(prompt):
            logprobs = self._logits([before]).log_softmax(-1)
            values, ids = logprobs.topk(top)
            best = tuple(zip(ids.tolist(), values.tolist(), strict=True))
            made.append(Token(token, float(logprobs[token]), best))
        yield
        return made

    def _logits(self, likely: list[int]) -> torch.Tensor:
        """float [V]"""
        logits = torch.zeros(self._size)
        logits[likely] = _SURE
        return logits
