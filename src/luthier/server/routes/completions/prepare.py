"""A completion of plain text made ready: prompts as token ids, sampling. Knows nothing about how it is sent."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from luthier.data.rendering.renderer import Renderer
from luthier.inference import Engine, Generation, Token
from luthier.server.generation.prompt_inputs import check_room, check_text, token_ids
from luthier.server.generation.request import Underway, check_choices, sampling, stops
from luthier.server.model_resolver import Target
from luthier.server.state import State, renderer
from luthier.types.common import new_id
from luthier.types.completions import CreateCompletionRequest
from luthier.types.errors import BadRequestError

_MAX_TOKENS = 16  # OpenAI's default


@dataclass
class Prompt:
    """`text` as it is echoed; `echoed`: its tokens after the first, with their log-probabilities where asked for."""

    text: str
    ids: list[int]
    echoed: list[Token] = field(default_factory=list)


@dataclass(kw_only=True)
class TextCompletion(Underway):
    """`candidates` generations for each prompt, one prompt's after the other's; none when no token is wanted."""

    body: CreateCompletionRequest
    prompts: list[Prompt]

    @property
    def n(self) -> int:
        return self.body.n or 1

    @property
    def candidates(self) -> int:
        return self.body.best_of or self.n


def prepare(state: State, base: Path, engine: Engine, target: Target, body: CreateCompletionRequest) -> TextCompletion:
    """Everything up to the first token that may take time. Raises APIError, RenderError."""
    rendering = renderer(base, target.adapter)
    prompts = _prompts(body, target, rendering, engine.context_tokens)
    most = _MAX_TOKENS if body.max_tokens is None else body.max_tokens
    check_room(engine.context_tokens, max(len(prompt.ids) for prompt in prompts), most)
    candidates = body.best_of or body.n or 1
    check_choices(candidates, state.settings.queue_limit, "best_of" if body.best_of else "n")
    samplings = [
        sampling(body, at, most, rendering.text_stop_ids, top_logprobs=body.logprobs or 0)
        for at in range(candidates if most else 0)
    ]
    return TextCompletion(
        id=new_id("cmpl-", 29),
        body=body,
        target=target,
        engine=engine,
        renderer=rendering,
        prompts=prompts,
        generations=[Generation(prompt.ids, one, target.adapter) for prompt in prompts for one in samplings],
        prompt_tokens=sum(len(prompt.ids) for prompt in prompts),
        stops=stops(body.stop),
        with_tokens=body.logprobs is not None or candidates > (body.n or 1),
    )


def _prompts(body: CreateCompletionRequest, target: Target, rendering: Renderer, context: int) -> list[Prompt]:
    given = body.prompt if body.prompt is not None else ""
    texts = [given] if isinstance(given, str) else [text for text in given if isinstance(text, str)]
    if not (target.taught.pairs and texts):
        made = token_ids(given, rendering, context, "prompt")
        return [
            Prompt(texts[at] if texts else rendering.decode(ids), ids or [rendering.border])
            for at, ids in enumerate(made)
        ]
    if body.echo and body.logprobs is not None:
        message = (
            "Invalid 'logprobs': this model was trained on pairs of prompt and completion, whose prompts stand inside "
            "a chat template; log-probabilities of an echoed prompt can be had of token ids only."
        )
        raise BadRequestError(message, param="logprobs")
    for text in texts:
        check_text(text, rendering, context)
    return [Prompt(text, rendering.prompt([{"role": "user", "content": text}])) for text in texts]


async def score_echoes(completion: TextCompletion) -> None:
    """Where the prompt is echoed with log-probabilities, find them. Raises RateLimitError."""
    if not completion.body.echo or completion.body.logprobs is None:
        return
    for prompt in completion.prompts:
        scored = completion.engine.score(prompt.ids, completion.target.adapter, completion.body.logprobs)
        prompt.echoed = await asyncio.wrap_future(scored)
