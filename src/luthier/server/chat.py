"""`/v1/chat/completions`: from a request to prompt ids and sampling, from tokens to an answer or a stream of chunks."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from luthier import __version__
from luthier.data import messages as wire
from luthier.data.render import Renderer
from luthier.inference import Engine, FinishReason, Generation, Sampling, Token, TokenStream
from luthier.server import upstream
from luthier.server.answers import AnswerText, CallForm, calls_as_sent, logprobs
from luthier.server.errors import as_api_error
from luthier.server.names import Target
from luthier.server.state import State, StateOf, renderer
from luthier.server.tokens import tokens_of
from luthier.types import chat as types
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.common import new_id, now
from luthier.types.errors import BadRequestError, UnavailableError

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"])


@router.post("", response_model=types.ChatCompletion)
async def create(body: CreateChatCompletionRequest, request: Request, state: StateOf) -> Response:
    """Plain, or with `stream` as server-sent events. The header `x-luthier-served-by` names the weights."""
    target = await run_in_threadpool(state.names.resolve, body.model)
    if target.upstream:
        return await upstream.forward(state, target.upstream, await request.json(), "/chat/completions")
    _refuse_what_is_not_here(body)
    job = await run_in_threadpool(_prepare, state, target, body)
    served_by = {"x-luthier-served-by": (target.base or "").rsplit("/", 1)[-1]}
    if body.stream:
        await job.start()
        return StreamingResponse(_stream(job), media_type="text/event-stream", headers=served_by)
    return JSONResponse(await _whole(job), headers=served_by)


def _refuse_what_is_not_here(body: CreateChatCompletionRequest) -> None:
    """What would change the answer and cannot be done is said, not skipped."""
    form = body.response_format.type if body.response_format else "text"
    asked = {
        "response_format": form != "text" and f"'{form}'",
        "store": body.store,
        "audio": body.audio,
        "prediction": body.prediction,
        "web_search_options": body.web_search_options,
        "modalities": body.modalities not in (None, ["text"]) and body.modalities,
    }
    for param, value in asked.items():
        if value:
            message = f"Unsupported parameter: '{param}' ({value}) is not available on this server."
            raise BadRequestError(message, param=param, code="unsupported_parameter")
    if body.functions and body.tools:
        raise BadRequestError("'functions' and 'tools' cannot be sent together.", param="functions")
    if body.top_logprobs is not None and not body.logprobs:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise BadRequestError(message, param="top_logprobs")
    if body.stream_options and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequestError(message, param="stream_options")


@dataclass
class _Job:
    """One request on its way: `streams` holds an answer under way for each of `n` choices."""

    body: CreateChatCompletionRequest
    target: Target
    engine: Engine
    renderer: Renderer
    prompt: list[int]
    opening: str
    call_form: CallForm | None
    answer_tokens: int
    id: str = field(default_factory=lambda: new_id("chatcmpl-", 29))
    created: int = field(default_factory=now)
    streams: list[TokenStream] = field(default_factory=list)
    completion_tokens: int = 0

    async def start(self) -> None:
        """Raises RateLimitError with nothing left behind."""
        try:
            for index in range(self.body.n or 1):
                self.streams.append(
                    self.engine.submit(Generation(self.prompt, self.sampling(index), self.target.adapter))
                )
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        for stream in self.streams:
            stream.cancel()

    def sampling(self, index: int) -> Sampling:
        body = self.body
        room = self.engine.context_tokens - len(self.prompt)
        asked = body.max_completion_tokens or body.max_tokens
        return Sampling(
            max_tokens=min(asked or self.answer_tokens, room),
            stop_ids=self.renderer.stop_ids,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias=_logit_bias(body.logit_bias or {}),
            seed=None if body.seed is None else body.seed + index,
            top_logprobs=body.top_logprobs or 0,
        )

    def text(self) -> AnswerText:
        stops = [self.body.stop] if isinstance(self.body.stop, str) else self.body.stop or []
        return AnswerText(stops, calls=self.call_form is not None, opening=self.opening)

    def usage(self) -> types.Usage:
        prompt, completion = len(self.prompt), self.completion_tokens
        return types.Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    @property
    def head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "created": self.created,
            "model": self.target.name,
            "system_fingerprint": _fingerprint(self.target),
        }


def _prepare(state: State, target: Target, body: CreateChatCompletionRequest) -> _Job:
    """Everything up to the first token that may take time: weights, rendering. Raises APIError, RenderError."""
    base = state.catalogue.folder(target.base or "")
    rendering = renderer(base, target.adapter)
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    functions = [function.model_dump(exclude_none=True) for function in body.functions or []]
    tools = [tool.model_dump(exclude_none=True) for tool in body.tools or []]
    opening, call_form = _call_rules(body, target)
    silent = "none" in (body.tool_choice, body.function_call)
    prompt = rendering.prompt(messages, None if silent else wire.definitions(tools, functions), opening)
    engine = state.engines.engine(base)
    asked = body.max_completion_tokens or body.max_tokens or 1
    if len(prompt) + asked > engine.context_tokens:
        raise BadRequestError(
            f"This model's maximum context length is {engine.context_tokens} tokens. However, you requested "
            f"{len(prompt) + asked} tokens ({len(prompt)} in the messages, {asked} in the completion). Please reduce "
            "the length of the messages or completion.",
            param="messages",
            code="context_length_exceeded",
        )
    return _Job(body, target, engine, rendering, prompt, opening, call_form, state.settings.answer_tokens)


def _call_rules(body: CreateChatCompletionRequest, target: Target) -> tuple[str, CallForm | None]:
    """(how the answer must begin, how calls are sent): by the request, else by how the model's data called."""
    form: CallForm | None = "functions" if body.functions else "tools" if body.tools else None
    form = form or ("functions" if target.call_form == "functions" else "tools" if target.call_form else None)
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    if choice == "none":
        return "", None
    if choice == "required":
        return '<tool_call>\n{"name": ', form
    if choice in (None, "auto"):
        return "", form
    name = choice.function.name if isinstance(choice, types.NamedTool) else getattr(choice, "name", "")
    known = [tool.function.name for tool in body.tools or []] + [function.name for function in body.functions or []]
    if known and name not in known:
        param = "tool_choice" if body.tool_choice is not None else "function_call"
        raise BadRequestError(f"Invalid '{param}': the function '{name}' is not among those sent.", param=param)
    return f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": ', form


def _logit_bias(asked: dict[str, float]) -> dict[int, float]:
    try:
        return {int(token): bias for token, bias in asked.items()}
    except ValueError as error:
        message = f"Invalid 'logit_bias': keys are token ids of this model ({error})."
        raise BadRequestError(message, param="logit_bias", code="invalid_value") from error


def _fingerprint(target: Target) -> str:
    """Changes with the weights and with the program, as OpenAI's does."""
    return "fp_" + hashlib.sha256(f"{target.base} {target.adapter} {__version__}".encode()).hexdigest()[:10]


def _reason(finish: FinishReason | None, text: AnswerText, called: bool, form: CallForm | None) -> types.FinishReason:
    if finish == "cancelled" and not text.stopped:
        raise UnavailableError("The server is shutting down.")
    if finish == "length" and not text.stopped:
        return "length"
    if called:
        return "function_call" if form == "functions" else "tool_calls"
    return "stop"


async def _whole(job: _Job) -> dict[str, Any]:
    await job.start()
    try:
        choices = [await _choice(job, index, stream) for index, stream in enumerate(job.streams)]
    finally:
        job.cancel()
    made = types.ChatCompletion(**job.head, choices=choices, usage=job.usage()).model_dump()
    for choice in made["choices"]:
        for absent in ("tool_calls", "function_call"):
            if choice["message"][absent] is None:
                del choice["message"][absent]
    return made


async def _choice(job: _Job, index: int, stream: TokenStream) -> types.Choice:
    text, tokens = job.text(), []
    read = job.renderer.reader()
    async for token in tokens_of(stream):
        tokens.append(token)
        job.completion_tokens += 1
        text.feed(read(token.id))
        if text.stopped:
            stream.cancel()
            break
    answer, _ = text.finish()
    parallel = job.body.parallel_tool_calls is not False
    calls, call = calls_as_sent(answer, job.call_form, parallel=parallel)
    called = bool(calls or call)
    return types.Choice(
        index=index,
        message=types.AnswerMessage(content=answer.content, tool_calls=calls, function_call=call),
        logprobs=logprobs(tokens, job.renderer) if job.body.logprobs and not called else None,
        finish_reason=_reason(stream.finish_reason, text, called, job.call_form),
    )


async def _stream(job: _Job) -> AsyncIterator[str]:
    """Server-sent events in OpenAI's order; an error in mid-stream becomes a data line that the clients raise."""
    with_usage = bool(job.body.stream_options and job.body.stream_options.include_usage)
    try:
        for index, stream in enumerate(job.streams):
            async for delta, probabilities, reason in _deltas(job, stream):
                choice = types.ChunkChoice(index=index, delta=delta, logprobs=probabilities, finish_reason=reason)
                yield _event(_chunk(job, [choice], {"usage": None} if with_usage else {}))
        if with_usage:
            yield _event(_chunk(job, [], {"usage": job.usage().model_dump()}))
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield _event(as_api_error(error).body())
    finally:
        job.cancel()


_Delta = tuple[dict[str, Any], types.Logprobs | None, types.FinishReason | None]


async def _deltas(job: _Job, stream: TokenStream) -> AsyncIterator[_Delta]:
    text, pending = job.text(), list[Token]()
    read = job.renderer.reader()
    begun = False

    def said(piece: str) -> types.Logprobs | None:
        tokens, pending[:] = list(pending), []
        return logprobs(tokens, job.renderer) if job.body.logprobs and piece else None

    async for token in tokens_of(stream):
        pending.append(token)
        job.completion_tokens += 1
        piece = text.feed(read(token.id))
        if piece and not begun:
            begun = True
            yield {"role": "assistant", "content": "", "refusal": None}, None, None
        if piece:
            yield {"content": piece}, said(piece), None
        if text.stopped:
            stream.cancel()
            break
    answer, rest = text.finish()
    calls, call = calls_as_sent(answer, job.call_form, parallel=job.body.parallel_tool_calls is not False)
    if rest or (not begun and not (calls or call)):
        if not begun:
            begun = True
            yield {"role": "assistant", "content": "", "refusal": None}, None, None
        if rest:
            yield {"content": rest}, said(rest), None
    for delta in _call_deltas(calls, call, begun):
        yield delta, None, None
    yield {}, None, _reason(stream.finish_reason, text, bool(calls or call), job.call_form)


def _call_deltas(
    calls: list[types.ToolCall] | None, call: types.FunctionCall | None, begun: bool
) -> list[dict[str, Any]]:
    """Each call opens with its name and empty arguments; the arguments follow."""
    opening = {} if begun else {"role": "assistant", "content": None, "refusal": None}
    if call:
        first = {**opening, "function_call": {"name": call.name, "arguments": ""}}
        return [first, {"function_call": {"arguments": call.arguments}}]
    made: list[dict[str, Any]] = []
    if calls and len(calls) > 1 and opening:
        made.append(opening)
        opening = {}
    for index, one in enumerate(calls or []):
        begin = {
            "index": index,
            "id": one.id,
            "type": "function",
            "function": {"name": one.function.name, "arguments": ""},
        }
        made.append({**opening, "tool_calls": [begin]})
        made.append({"tool_calls": [{"index": index, "function": {"arguments": one.function.arguments}}]})
    return made


def _chunk(job: _Job, choices: list[types.ChunkChoice], more: dict[str, Any]) -> dict[str, Any]:
    return types.ChatCompletionChunk(**job.head, choices=choices).model_dump() | more


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
