"""Captures forwarded chat completions as stored completions with the metadata `CAPTURED`.

A failure to store is logged without content and does not affect the response.
"""

import logging
import re
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.server.generation.stream_assembly import assemble_stream
from luthier.server.generation.upstream_proxy import OnAnswer, UpstreamCall
from luthier.server.routes.stored_completions import request_parameters, save
from luthier.server.state import State
from luthier.types.errors import ConflictError
from luthier.types.ids import new_id
from luthier.types.stored import StoredCompletion, foreign_fields, stored_message
from luthier.types.strict_json import parse_json

CAPTURED = {"luthier:captured": "true"}
UPSTREAM_MODEL = "luthier:upstream_model"  # metadata key, if the requested name is an alias

_log = logging.getLogger(__name__)
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


def capture(request: Request, state: State, call: UpstreamCall) -> OnAnswer | None:
    """The callback for a successful answer to `call`; None if the caller's project is not captured."""
    if not state.settings.captures(request.state.caller.project):
        return None

    async def store(content: bytes) -> None:
        try:
            await run_in_threadpool(_store, state, call, content, request.state.request_id)
        except Exception as error:  # whatever the error, the client has its answer
            _log.warning("an answer of %s was not captured: %s", call.model, _reason(error))

    return store


def _store(state: State, call: UpstreamCall, content: bytes, request_id: str) -> None:
    """Store the completion under the upstream's id, unless another stored completion has it."""
    answer = assemble_stream(content) if call.body.get("stream") else parse_json(content)
    if answer is None:
        _log.info("a stream of %s that ended early was not captured", call.model)
        return
    for completion_id in (answer["id"], new_id("chatcmpl-")):
        if not _ID.fullmatch(completion_id):
            continue
        completion = _completion(call, {**answer, "id": completion_id}, request_id)
        messages = [stored_message(f"{completion_id}-{i}", sent) for i, sent in enumerate(call.body["messages"])]
        try:
            save(state, completion, messages)
        except ConflictError:
            continue
        return


def _completion(call: UpstreamCall, answer: dict[str, Any], request_id: str) -> StoredCompletion:
    """Fields of other services are dropped."""
    sent = _without_nulls(call.body)
    metadata = {**sent.get("metadata", {}), **CAPTURED}
    if call.model != sent["model"]:
        metadata[UPSTREAM_MODEL] = call.model
    fields = foreign_fields(answer) | request_parameters(sent) | {"model": sent["model"]}
    return StoredCompletion(
        **{**fields, "metadata": metadata, "input_user": sent.get("user"), "request_id": request_id}
    )


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in value.items() if entry is not None}


def _reason(error: Exception) -> str:
    """The reason without values, which are users' data."""
    if isinstance(error, ValidationError):
        fields = [".".join(map(str, entry["loc"])) for entry in error.errors(include_input=False)]
        return f"fields that cannot be stored: {', '.join(fields[:5])}"
    return type(error).__name__
