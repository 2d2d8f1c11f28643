"""The openvino engine: tokens of many answers, and a piece of a prompt, in one pass through a compiled graph.

Of the base and of several adapters at once. A round is one piece of a prompt that is still to be read, and one token
for every answer that has been read. Texts that begin alike share the blocks where their keys and values lie.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import Future
from pathlib import Path

import torch

from luthier.hardware import choose as choose_hardware
from luthier.inference.batched.adapters import Adapters
from luthier.inference.batched.cache import Texts
from luthier.inference.compiled.blocks import TOKENS
from luthier.inference.compiled.model import Compiled, Piece
from luthier.inference.engine import Token
from luthier.inference.passes import unit
from luthier.inference.pool import EngineOptions
from luthier.inference.turns import Pass, Stream, Turns
from luthier.types.errors import BaseModelError

_MOST_ANSWERS = 16  # in one pass; more wait
_PIECE = 512  # tokens of a prompt that are read in one round
_MOST_BYTES = 1 << 30  # of keys and values; an answer that needs more by itself is given it
_KEPT_BYTES = 1 << 27  # what stays reserved when nothing is under way


class _Text:
    """As far as it has been read: its tokens, the blocks they lie in, and whether the prompt is behind it."""

    def __init__(self, slot: int | None) -> None:
        self.slot, self.read = slot, False
        self.ids: list[int] = []
        self.blocks: list[int] = []


class OpenVINOEngine(Turns):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        super().__init__(base, options)
        device, precision = choose_hardware(options.device, options.precision)
        if device != "cpu":
            raise BaseModelError("The openvino engine computes on the processor. Start with --device cpu.")
        self._model = Compiled(base, getattr(torch, precision))
        self.context_tokens = self._model.context_tokens
        self._blocks = self._model.blocks
        self._adapters = Adapters(self._model, options.adapters_in_memory)
        self._texts = Texts[list[int]](options.prefix_cache_bytes, self._blocks.release)
        self._streams: list[Stream] = []
        self.start()

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        return self.queued(lambda: Pass(self._embeddings(prompts, adapter))).result

    def score(self, prompt: list[int], adapter: Path | None, top: int) -> "Future[list[Token]]":
        return self.queued(lambda: Pass(self._scores(prompt, adapter, top))).result

    @torch.inference_mode()
    def advance(self, due: list[Stream]) -> None:
        writing = [stream for stream in due if stream.state and stream.state.read]
        reading = next((stream for stream in due if stream.state and not stream.state.read), None)
        if reading is None:
            # One after the other, so that a text that several begin with is read once.
            waiting = (stream for stream in due if stream.state is None)
            reading = next((stream for stream in waiting if self._has_room(stream) and self._admit(stream)), None)
        parts = [(stream.state, stream.next_ids[-1:]) for stream in writing]
        if reading:
            text, prompt = reading.state, reading.generation.prompt
            parts.append((text, prompt[len(text.ids) : len(text.ids) + _PIECE]))
            text.read = len(text.ids) + len(parts[-1][1]) == len(prompt)
        if parts:
            told = [*writing, reading] if reading and reading.state.read else writing
            for stream, logits in zip(told, self._passed(parts, len(told)), strict=True):
                if stream is reading:
                    self._keep(stream)
                self.chosen(stream, logits)

    def _passed(self, parts: list[tuple[_Text, list[int]]], count: int) -> torch.Tensor:
        """Reads more tokens of each text; the logits [count, V] after the first ones."""
        pieces = [self._piece(text, ids) for text, ids in parts]
        ends = torch.tensor([len(ids) for _, ids in parts]).cumsum(0) - 1
        logits, _ = self._model.run(pieces, self._adapters, logits_at=ends[:count].tolist())
        for text, ids in parts:
            text.ids += ids
        return logits

    @torch.inference_mode()
    def forget(self, stream: Stream) -> None:
        if stream.state is None:
            return
        self._keep(stream)
        self._blocks.release(stream.state.blocks)
        self._streams.remove(stream)
        stream.state = None
        if not self._streams:
            self._blocks.forget(_KEPT_BYTES)

    def _keep(self, stream: Stream) -> None:
        text: _Text = stream.state
        blocks = text.blocks[: -(-len(text.ids) // TOKENS)]
        size = len(blocks) * self._blocks.block_bytes
        self._texts.keep(stream.generation.adapter, text.ids, size, lambda: self._blocks.share(blocks))

    def _has_room(self, stream: Stream) -> bool:
        """For all that the answers under way may become."""
        together = [one.generation for one in (*self._streams, stream)]
        blocks = sum(-(-(len(one.prompt) + one.sampling.max_tokens) // TOKENS) for one in together)
        enough = blocks * self._blocks.block_bytes <= _MOST_BYTES
        return len(together) == 1 or (len(together) <= _MOST_ANSWERS and enough)

    def _admit(self, stream: Stream) -> bool:
        """Gives it a text; False when its adapter cannot be loaded."""
        generation = stream.generation
        try:
            text = _Text(self._slot(generation.adapter))
        except Exception as error:
            self.failed(stream, error)
            return False
        known = self._texts.find(generation.adapter, generation.prompt)
        if known:
            blocks, stream.cached_tokens = known
            whole, rest = divmod(stream.cached_tokens, TOKENS)
            text.blocks = self._blocks.share(blocks[:whole]) + ([self._blocks.copy(blocks[whole])] if rest else [])
            text.ids = generation.prompt[: stream.cached_tokens]
        stream.state = text
        self._streams.append(stream)
        return True

    def _slot(self, adapter: Path | None) -> int | None:
        if adapter is None:
            return None
        busy = [stream.generation.adapter for stream in self._streams if stream.generation.adapter]
        return self._adapters.slot(adapter, busy)

    def _piece(self, text: _Text, ids: list[int]) -> Piece:
        self._blocks.extended(text.blocks, len(text.ids) + len(ids))
        return Piece(ids, len(text.ids), text.blocks, text.slot)

    def _embeddings(
        self, prompts: Sequence[list[int]], adapter: Path | None
    ) -> Generator[None, None, list[list[float]]]:
        made = []
        for prompt in prompts:
            total = torch.zeros(1)
            for _, hidden in self._pieces(prompt, adapter, hidden=True):
                total = total + hidden.sum(0)
                yield
            made.append(unit(total / len(prompt)))
        return made

    def _scores(self, prompt: list[int], adapter: Path | None, top: int) -> Generator[None, None, list[Token]]:
        made: list[Token] = []
        for logits, _ in self._pieces(prompt[:-1], adapter, hidden=False):
            logprobs = logits.log_softmax(-1)  # [T, V]
            values, likeliest = logprobs.topk(top, dim=-1)
            for at in range(len(logprobs)):
                token = prompt[len(made) + 1]
                best = tuple(zip(likeliest[at].tolist(), values[at].tolist(), strict=True))
                made.append(Token(token, float(logprobs[at, token]), best))
            yield
        return made

    def _pieces(
        self, ids: list[int], adapter: Path | None, hidden: bool
    ) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
        """The logits or the hidden states of a text, some tokens at a time."""
        text = _Text(None)
        try:
            for start in range(0, len(ids), _PIECE // 2):
                text.slot = self._slot(adapter)
                piece = self._piece(text, ids[start : start + _PIECE // 2])
                wanted = range(len(piece.ids))
                yield self._model.run([piece], self._adapters, () if hidden else wanted, wanted if hidden else ())
                text.ids += piece.ids
        finally:
            self._blocks.release(text.blocks)
