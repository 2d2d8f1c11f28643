"""Prepares a plain completion: prompt tokens and sampling."""

from luthier.inference import EngineRequest
from luthier.server.generation.choice_limits import check_choice_count
from luthier.server.generation.prompt_inputs import check_context_length
from luthier.server.generation.request import GenerationRequest
from luthier.server.generation.sampling_params import sampling_params, stop_sequences
from luthier.server.model_loader import LoadedModel
from luthier.server.routes.completions.prompts import tokenize_prompts
from luthier.server.routes.completions.response import TextResponseWriter
from luthier.server.state import State
from luthier.types.completions import CreateCompletionRequest
from luthier.types.ids import new_id

_DEFAULT_MAX_TOKENS = 16  # OpenAI's


def prepare(state: State, model: LoadedModel, body: CreateCompletionRequest) -> TextResponseWriter:
    """Prepare `best_of` choices for each prompt, grouped by prompt; none for `max_tokens` 0.

    Raises APIError, RenderError.
    """
    prompts = tokenize_prompts(body, model)
    max_tokens = _DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    check_context_length(model.engine.context_tokens, max(len(prompt.ids) for prompt in prompts), max_tokens)
    n = body.n or 1
    best_of = body.best_of or n
    check_choice_count(state, best_of, "best_of" if body.best_of else "n")
    samplings = sampling_params(
        body,
        n=best_of if max_tokens else 0,
        max_tokens=max_tokens,
        stop_ids=model.renderer.text_stop_ids,
        vocabulary_size=model.renderer.vocabulary_size,
        top_logprobs=body.logprobs or 0,
    )
    adapter = model.target.adapter
    request = GenerationRequest(
        id=new_id("cmpl-", 29),
        model=model,
        engine_requests=[EngineRequest(prompt.ids, sampling, adapter) for prompt in prompts for sampling in samplings],
        prompt_tokens=sum(len(prompt.ids) for prompt in prompts),
        stop_sequences=stop_sequences(body.stop),
        keep_tokens=body.logprobs is not None or best_of > n,
    )
    return TextResponseWriter(request, body, prompts)
