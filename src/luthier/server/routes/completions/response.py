"""Text completion objects and chunks."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from luthier.inference import Token
from luthier.server.generation.choice_stream import Finish, GeneratedChoice, Part, TextDelta
from luthier.server.generation.request import GenerationRequest
from luthier.server.generation.response import ResponseWriter
from luthier.server.routes.completions.logprobs import TextLogprobsWriter, concatenated, prompt_logprobs
from luthier.server.routes.completions.prompts import Prompt
from luthier.types import chat, completions
from luthier.types.completions import CreateCompletionRequest, TextChoice, TextCompletion


class TextResponseWriter(ResponseWriter):
    def __init__(self, request: GenerationRequest, body: CreateCompletionRequest, prompts: Sequence[Prompt]) -> None:
        super().__init__(request, body.stream_options)
        self._body, self._prompts = body, prompts
        self._n, self._best_of = body.n or 1, body.best_of or body.n or 1
        self._logprobs: dict[int, TextLogprobsWriter] = {}  # of each choice of a stream

    async def score_prompts(self) -> None:
        if not self._body.echo or self._body.logprobs is None:
            return
        model = self.request.model
        for prompt in self._prompts:
            scored = model.engine.score(prompt.ids, model.target.adapter, self._body.logprobs)
            prompt.scored = await asyncio.wrap_future(scored)

    def complete(self, choices: Sequence[GeneratedChoice], usage: chat.Usage) -> dict[str, Any]:
        text_choices: list[TextChoice] = []
        for index, prompt in enumerate(self._prompts):
            candidates = choices[index * self._best_of : (index + 1) * self._best_of]
            best = _best(candidates or [GeneratedChoice()] * self._n, self._n)
            for choice in best:
                text_choices.append(self._choice(len(text_choices), prompt, choice))
        response = TextCompletion(**self.request.response_fields, choices=text_choices, usage=usage)
        return response.model_dump()

    def _choice(self, index: int, prompt: Prompt, choice: GeneratedChoice) -> TextChoice:
        text, logprobs = choice.text, self._logprobs_writer(prompt).write(choice.tokens)
        if self._body.echo:
            text = prompt.text + text
            logprobs = concatenated(self._prompt_logprobs(prompt), logprobs)
        return TextChoice(
            text=text,
            index=index,
            logprobs=logprobs if self._body.logprobs is not None else None,
            finish_reason=_finish_reason(choice.finish_reason),
        )

    def opening_chunks(self) -> Iterator[dict[str, Any]]:
        """The prompts if they are echoed, and the ends of choices if no token is requested."""
        for index in range(len(self._prompts) * self._n):
            prompt = self._prompts[index // self._n]
            self._logprobs[index] = self._logprobs_writer(prompt)
            if self._body.echo:
                logprobs = self._prompt_logprobs(prompt) if self._body.logprobs is not None else None
                yield self._chunk([TextChoice(text=prompt.text, index=index, logprobs=logprobs)])
            if not self.request.engine_requests:
                yield self._chunk([TextChoice(text="", index=index, finish_reason="length")])

    def chunks(self, index: int, part: Part) -> Iterable[dict[str, Any]]:
        match part:
            case TextDelta():
                logprobs = self._logprobs[index].write(part.tokens) if part.tokens else None
                return [self._chunk([TextChoice(text=part.text, index=index, logprobs=logprobs)])]
            case Finish():
                reason = _finish_reason(part.reason)
                return [self._chunk([TextChoice(text="", index=index, finish_reason=reason)])]
        raise AssertionError("plain completions have no calls")

    def empty_chunk(self) -> dict[str, Any]:
        return self._chunk([])

    def _chunk(self, choices: list[TextChoice]) -> dict[str, Any]:
        chunk = TextCompletion(**self.request.response_fields, choices=choices)
        return chunk.model_dump(exclude={"usage"})

    def _logprobs_writer(self, prompt: Prompt) -> TextLogprobsWriter:
        return TextLogprobsWriter(self.request.model.renderer, self._body.logprobs, offset=len(prompt.text))

    def _prompt_logprobs(self, prompt: Prompt) -> completions.TextLogprobs:
        return prompt_logprobs(prompt, self.request.model.renderer, self._body.logprobs)


def _best(choices: Sequence[GeneratedChoice], n: int) -> Sequence[GeneratedChoice]:
    """The `n` choices with the highest mean log-probability, best first; all in their order where there are `n`."""
    if len(choices) == n:
        return choices
    return sorted(choices, key=lambda choice: _mean_logprob(choice.tokens), reverse=True)[:n]


def _mean_logprob(tokens: Sequence[Token]) -> float:
    return sum(token.logprob for token in tokens) / len(tokens) if tokens else 0.0


def _finish_reason(reason: chat.FinishReason) -> completions.FinishReason:
    return "length" if reason == "length" else "stop"
