"""`/v1/evaluations`: Luthier's own. How likely a model finds given answers; the rest is to come."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from luthier.data.examples import to_example
from luthier.data.form import check_example
from luthier.data.render import Rendered
from luthier.inference import Engine, Token, in_background
from luthier.server.body import StrictRoute
from luthier.server.presence import while_connected
from luthier.server.state import StateOf, renderer
from luthier.types.errors import BadRequestError, LuthierError, RenderError
from luthier.types.evaluations import CreateLossesRequest, ExampleLoss, Losses

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"], route_class=StrictRoute)


@router.post("/losses")
async def losses(body: CreateLossesRequest, request: Request, state: StateOf) -> Losses:
    """Teacher-forced, on the tokens that training would train. Everybody else's requests go first."""
    target = await run_in_threadpool(state.names.resolve, body.model)
    if target.upstream:
        message = f"The model '{body.model}' is of a service elsewhere, which tells no loss of given texts."
        raise BadRequestError(message, param="model", code="losses_not_available")
    base = await while_connected(request, state.base_folder(target.base or ""))
    examples = await run_in_threadpool(_rendered, body.examples, base, target.adapter)
    engine = await run_in_threadpool(state.engines.engine, base)
    found = await while_connected(request, _losses(engine, target.adapter, examples))
    return Losses(model=target.name, data=found)


def _rendered(given: Sequence[dict[str, Any]], base: Path, adapter: Path | None) -> list[Rendered]:
    """Raises BadRequestError that names the example."""
    rendering = renderer(base, adapter)
    made = []
    for index, value in enumerate(given):
        param = f"examples[{index}]"
        fault = next((found for found in check_example(value) if found.severity == "error"), None)
        if fault:
            raise BadRequestError(f"Invalid '{param}': {fault.text('en')}", param=param)
        try:
            made.append(rendering.example(to_example(value, index + 1)))
        except (RenderError, LuthierError) as error:
            raise BadRequestError(f"Invalid '{param}': {error}", param=param) from error
    return made


async def _losses(engine: Engine, adapter: Path | None, examples: Sequence[Rendered]) -> list[ExampleLoss]:
    """One after the other, each a single place in the queue."""
    in_background.set(True)
    made = []
    for example in examples:
        kept = example.ids[: engine.context_tokens]
        tokens = await asyncio.wrap_future(engine.score(kept, adapter, 1))
        made.append(_loss(example, tokens))
    return made


def _loss(example: Rendered, tokens: Sequence[Token]) -> ExampleLoss:
    """`tokens` are those after the first, as far as the model's context goes."""
    trained = [(token, weight) for token, weight in zip(tokens, example.weights[1:], strict=False) if weight]
    return ExampleLoss(
        loss=-sum(token.logprob * weight for token, weight in trained),
        weight=sum(weight for _, weight in trained),
        tokens=len(trained),
        correct_tokens=sum(token.top[0][1] <= token.logprob for token, _ in trained),
        truncated=len(tokens) + 1 < len(example.ids),
    )
