"""Chat completion objects and chunks."""

from collections.abc import Iterable, Sequence
from typing import Any

from luthier.inference import Token
from luthier.server.generation.chat_request import chat_request
from luthier.server.generation.choice_stream import Finish, GeneratedChoice, Part, ReasoningDelta, TextDelta
from luthier.server.generation.logprobs import token_logprobs
from luthier.server.generation.request import GenerationRequest
from luthier.server.generation.response import ResponseWriter
from luthier.server.generation.tool_calls import CallDelta
from luthier.server.model_loader import LoadedModel
from luthier.server.state import State
from luthier.store.request_ids import resource_id
from luthier.types import chat as types


def prepare(state: State, model: LoadedModel, body: types.CreateChatCompletionRequest) -> "ChatResponseWriter":
    """Raises APIError, RenderError."""
    return ChatResponseWriter(chat_request(state, model, body, resource_id("chatcmpl-", 29)), body.stream_options)


class ChatResponseWriter(ResponseWriter):
    def __init__(self, request: GenerationRequest, stream_options: types.StreamOptions | None) -> None:
        super().__init__(request, stream_options)
        self._started: set[int] = set()  # choices with a first chunk

    def complete(self, choices: Sequence[GeneratedChoice], usage: types.Usage) -> dict[str, Any]:
        return types.ChatCompletion(
            **self.request.response_fields,
            choices=[self._choice(index, choice) for index, choice in enumerate(choices)],
            usage=usage,
        ).model_dump()

    def _choice(self, index: int, choice: GeneratedChoice) -> types.Choice:
        calls = choice.calls
        content = None if calls and not choice.text else choice.text
        return types.Choice(
            index=index,
            message=types.AnswerMessage(
                content=content,
                reasoning_content=choice.reasoning or None,
                tool_calls=calls.tool_calls,
                function_call=calls.function_call,
            ),
            logprobs=self._logprobs(choice.tokens) if content is not None else None,
            finish_reason=choice.finish_reason,
        )

    def chunks(self, index: int, part: Part) -> Iterable[dict[str, Any]]:
        """The first chunk of a choice has its role, with empty content or with the beginning of a call."""
        delta, tokens, finish_reason = _delta(part)
        deltas = [delta]
        if index not in self._started:
            self._started.add(index)
            is_call = isinstance(part, CallDelta)
            role = {"role": "assistant", "content": None if is_call else "", "refusal": None}
            deltas = [role | delta] if is_call else [role, delta]
        choices = [types.ChunkChoice(index=index, delta=delta) for delta in deltas]
        choices[-1].logprobs = self._logprobs(tokens) if tokens else None
        choices[-1].finish_reason = finish_reason
        return [self._chunk([choice]) for choice in choices]

    def empty_chunk(self) -> dict[str, Any]:
        return self._chunk([])

    def _chunk(self, choices: list[types.ChunkChoice]) -> dict[str, Any]:
        return types.ChatCompletionChunk(**self.request.response_fields, choices=choices).model_dump()

    def _logprobs(self, tokens: Sequence[Token]) -> types.Logprobs | None:
        return token_logprobs(tokens, self.request.model.renderer) if self.request.keep_tokens else None


def _delta(part: Part) -> tuple[dict[str, Any], list[Token], types.FinishReason | None]:
    match part:
        case TextDelta():
            return {"content": part.text}, part.tokens, None
        case CallDelta():
            return part.delta(), [], None
        case ReasoningDelta():
            return {"reasoning_content": part.text}, [], None
        case Finish():
            return {}, [], part.reason
