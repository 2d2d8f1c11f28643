"""Many answers in one pass: of the base and of several adapters, each with its own place in its own text.

A round is one piece of a prompt that is still to be read, and one token for every answer that has been read: a long
prompt does not hold back answers under way, and these do not hold back a new one.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import Future
from pathlib import Path

import torch

from luthier.hardware import choose as choose_hardware
from luthier.inference.batched.adapters import Adapters, Chosen
from luthier.inference.batched.cache import Rows, Texts
from luthier.inference.batched.llama import Llama
from luthier.inference.engine import Token
from luthier.inference.passes import unit
from luthier.inference.pool import EngineOptions
from luthier.inference.turns import Pass, Stream, Turns

_MOST_ROWS = 16  # answers in one pass; more wait
_PIECE = 512  # tokens of a prompt that are read in one round
_MOST_BYTES = 1 << 30  # of keys and values; an answer that needs more by itself is given it
_KEPT_BYTES = 1 << 27  # what stays reserved when nothing is under way


class _Reading:
    """Of one answer: its row, its adapter's slot, its text as far as it lies in the row, whether its prompt is read."""

    def __init__(self, row: int, slot: int | None) -> None:
        self.row, self.slot, self.read = row, slot, False
        self.ids: list[int] = []

    @property
    def done(self) -> int:
        return len(self.ids)


class BatchedEngine(Turns):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        super().__init__(base, options)
        device, precision = choose_hardware(options.device, options.precision)
        self._model = Llama(base, torch.device(device), getattr(torch, precision))
        self.context_tokens = self._model.context_tokens
        self._adapters = Adapters(self._model, options.adapters_in_memory)
        self._rows = Rows(self._model)
        self._texts = Texts[torch.Tensor](options.prefix_cache_bytes)
        self._streams: list[Stream] = []  # by row
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
        if reading:
            self._read(reading)
        if writing:
            self._write(writing)

    @torch.inference_mode()
    def forget(self, stream: Stream) -> None:
        """The last row takes the place of the one that goes."""
        state: _Reading | None = stream.state
        if state is None:
            return
        self._keep(stream.generation.adapter, state.ids, state.row)
        last = self._streams.pop()
        if last is not stream:
            self._rows.move(last.state.row, state.row, last.state.done)
            last.state.row = state.row
            self._streams[state.row] = last
        stream.state = None
        if not self._streams and self._rows.data.nbytes > _KEPT_BYTES:
            self._rows = Rows(self._model)

    def _keep(self, adapter: Path | None, ids: Sequence[int], row: int) -> None:
        size = len(ids) * self._rows.token_bytes
        self._texts.keep(adapter, ids, size, lambda: self._rows.read(row, len(ids)))

    def _has_room(self, stream: Stream) -> bool:
        """Rows are as long as the longest answer may become."""
        together = [*self._streams, stream]
        places = max(len(one.generation.prompt) + one.generation.sampling.max_tokens for one in together)
        size = len(together) * min(places, self.context_tokens) * self._rows.token_bytes
        first = all(one.key != stream.key for one in self._streams)  # of its key: no other key's rows hold it back
        return len(together) == 1 or (len(together) <= _MOST_ROWS + first and size <= _MOST_BYTES)

    def _admit(self, stream: Stream) -> bool:
        """Gives it a row; False when its adapter cannot be loaded."""
        generation = stream.generation
        try:
            slot = self._slot(generation.adapter)
        except Exception as error:
            self.failed(stream, error)
            return False
        row = len(self._streams)
        self._rows.reserve(row + 1, len(generation.prompt) + 1)
        state = _Reading(row, slot)
        known = self._texts.find(generation.adapter, generation.prompt)
        if known:
            kept, stream.cached_tokens = known
            self._rows.write(row, kept, stream.cached_tokens)
            state.ids = generation.prompt[: stream.cached_tokens]
        stream.state = state
        self._streams.append(stream)
        return True

    def _slot(self, adapter: Path | None) -> int | None:
        if adapter is None:
            return None
        busy = [stream.generation.adapter for stream in self._streams if stream.generation.adapter]
        return self._adapters.slot(adapter, busy)

    def _read(self, stream: Stream) -> None:
        """The next piece of a prompt; after the last one, the first token of the answer."""
        state: _Reading = stream.state
        prompt = stream.generation.prompt
        piece = prompt[state.done : state.done + _PIECE]
        hidden = self._pass(self._rows, state.row, state.done, piece, state.slot)
        state.ids += piece
        if state.done == len(prompt):
            state.read = True
            self._keep(stream.generation.adapter, prompt, state.row)
            self.chosen(stream, self._model.logits(hidden[-1:])[0])

    def _write(self, streams: list[Stream]) -> None:
        """A token for each; rows of answers whose turn it is not are passed over by computing them in vain."""
        last = max(stream.state.row for stream in streams)
        rows = self._streams[: last + 1]
        places = [min(stream.state.done, self.context_tokens - 1) for stream in rows]
        self._rows.reserve(len(rows), max(places) + 1)
        ids = torch.tensor([stream.next_ids[-1] for stream in rows], device=self._model.device)
        at = torch.tensor(places, device=self._model.device)
        chosen = Chosen(self._adapters, [stream.state.slot for stream in rows])
        hidden = self._model.hidden(ids, at, self._rows.going_on(places), chosen)
        mine = [stream.state.row for stream in streams]
        by_row = dict(zip(mine, self._model.logits(hidden[mine]), strict=True))
        for stream in streams:
            stream.state.ids.append(stream.next_ids[-1])
        for stream, row in zip(streams, mine, strict=True):  # rows move when an answer ends
            self.chosen(stream, by_row[row])

    def _pass(self, rows: Rows, row: int, start: int, ids: Sequence[int], slot: int | None) -> torch.Tensor:
        """The hidden states [T, D] of a piece of one text."""
        model = self._model
        at = torch.arange(start, start + len(ids), device=model.device)
        tokens = torch.tensor(ids, device=model.device)
        attend = rows.reading(row, start, len(ids))
        return model.hidden(tokens, at, attend, Chosen(self._adapters, [slot]))

    def _embeddings(
        self, prompts: Sequence[list[int]], adapter: Path | None
    ) -> Generator[None, None, list[list[float]]]:
        made = []
        for prompt in prompts:
            total = torch.zeros(1)
            for hidden in self._pieces(prompt, adapter):
                total = total + hidden.float().sum(0).cpu()
                yield
            made.append(unit(total / len(prompt)))
        return made

    def _scores(self, prompt: list[int], adapter: Path | None, top: int) -> Generator[None, None, list[Token]]:
        made: list[Token] = []
        for hidden in self._pieces(prompt[:-1], adapter):
            with torch.inference_mode():
                logprobs = self._model.logits(hidden).float().log_softmax(-1).cpu()  # [T, V]
                values, likeliest = logprobs.topk(top, dim=-1)
            for at in range(len(logprobs)):
                token = prompt[len(made) + 1]
                best = tuple(zip(likeliest[at].tolist(), values[at].tolist(), strict=True))
                made.append(Token(token, float(logprobs[at, token]), best))
            yield
        return made

    def _pieces(self, ids: list[int], adapter: Path | None) -> Generator[torch.Tensor, None, None]:
        """The hidden states of a text, some tokens at a time."""
        rows = Rows(self._model)
        rows.reserve(1, len(ids))
        for start in range(0, len(ids), _PIECE // 2):
            with torch.inference_mode():
                hidden = self._pass(rows, 0, start, ids[start : start + _PIECE // 2], self._slot(adapter))
            yield hidden
