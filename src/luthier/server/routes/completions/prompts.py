"""The prompts of a plain completion."""

from dataclasses import dataclass, field

from luthier.data.rendering.renderer import Renderer
from luthier.inference import Token
from luthier.server.generation.prompt_inputs import check_text_length, tokenize_inputs
from luthier.server.model_loader import LoadedModel
from luthier.types.completions import CreateCompletionRequest
from luthier.types.errors import BadRequestError


@dataclass
class Prompt:
    """`text`: as echoed; `scored`: the tokens after the first with log-probabilities, if these are echoed."""

    text: str
    ids: list[int]
    scored: list[Token] = field(default_factory=list)


def tokenize_prompts(body: CreateCompletionRequest, model: LoadedModel) -> list[Prompt]:
    """For a model trained on prompt/completion pairs, text is rendered in the chat template of their prompts; other
    models get plain text.

    Raises BadRequestError, RenderError.
    """
    prompt_param = body.prompt if body.prompt is not None else ""
    texts = (
        [prompt_param] if isinstance(prompt_param, str) else [text for text in prompt_param if isinstance(text, str)]
    )
    renderer, context_tokens = model.renderer, model.engine.context_tokens
    if model.target.metadata.pairs and texts:
        return _templated(body, texts, renderer, context_tokens)
    return [
        Prompt(texts[index] if texts else renderer.decode(ids), ids or [renderer.document_separator])
        for index, ids in enumerate(tokenize_inputs(prompt_param, renderer, context_tokens, "prompt"))
    ]


def _templated(
    body: CreateCompletionRequest, texts: list[str], renderer: Renderer, context_tokens: int
) -> list[Prompt]:
    if body.echo and body.logprobs is not None:
        message = (
            "Invalid 'logprobs': this model was trained on prompt/completion pairs, so a text prompt is placed inside "
            "a chat template and its log-probabilities cannot be echoed. Send the prompt as token ids."
        )
        raise BadRequestError(message, param="logprobs")
    for text in texts:
        check_text_length(text, renderer, context_tokens)
    return [Prompt(text, renderer.prompt([{"role": "user", "content": text}])) for text in texts]
