"""`/v1/files/from_completions`, Luthier's own: stored chat completions become a training file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal

from fastapi import APIRouter

from luthier.server.http.json_body import StrictRoute
from luthier.server.state import State, StateDep
from luthier.types.errors import BadRequestError
from luthier.types.json_lines import json_line
from luthier.types.stored import CompletionsExport, ExportRequest, StoredCompletion, StoredMessage

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=StrictRoute)

Reason = Literal["cut_off", "refused", "empty", "not_text"]
_PAGE_SIZE = 100
_MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "function_call", "tool_call_id")


@router.post("/from_completions")
def create_from_completions(body: ExportRequest, state: StateDep) -> CompletionsExport:
    """A file with purpose `fine-tune`, one example for each stored completion that is a whole answer, oldest first.

    Only the stored answer is trained: earlier answers of the conversation have weight 0.
    """
    lines: list[str] = []
    skipped: Counter[str] = Counter()
    for completion in _selected(state, body):
        example = _example(completion, state.store.stored_completions.messages(completion.id))
        if isinstance(example, str):
            skipped[example] += 1
        else:
            lines.append(json_line(example) + "\n")
    if not lines:
        reasons = "".join(f", {count} {reason}" for reason, count in skipped.items())
        message = f"No stored chat completion can be exported as an example: {skipped.total()} selected{reasons}."
        raise BadRequestError(message, param="metadata" if body.metadata else "model", code="no_examples")

    def fill(out: IO[bytes]) -> None:
        out.writelines(line.encode("utf-8", "replace") for line in lines)

    file = state.store.files.create(body.filename, "fine-tune", fill)
    return CompletionsExport(file=file, examples=len(lines), skipped=dict(skipped))


def _selected(state: State, body: ExportRequest) -> Iterator[StoredCompletion]:
    after = None
    while True:
        page = state.store.stored_completions.list(
            model=body.model, pairs=body.metadata or {}, limit=_PAGE_SIZE, after=after, ascending=True
        )
        yield from page.data
        if not page.has_more:
            return
        after = page.data[-1].id


def _example(completion: StoredCompletion, messages: Sequence[StoredMessage]) -> dict[str, Any] | Reason:
    """A line of a training file, or the reason why there is none. Only the first of several choices is used."""
    choice = completion.choices[0]
    answer = choice.message
    if choice.finish_reason in ("length", "content_filter"):
        return "cut_off"
    if answer.refusal:
        return "refused"
    if not answer.content and not answer.tool_calls and not answer.function_call:
        return "empty"
    turns = [_turn(message) for message in messages]
    if any(turn is None for turn in turns):
        return "not_text"
    last = answer.model_dump(exclude_none=True, include={"role", "content", "tool_calls", "function_call"})
    definitions: dict[str, Any] = {"tools": completion.tools} if completion.tools else {}
    if completion.tools and answer.function_call:
        definitions = {"functions": [tool["function"] for tool in completion.tools]}
    return {"messages": [*turns, last], **definitions}


def _turn(message: StoredMessage) -> dict[str, Any] | None:
    """A message of the request; None for one with content other than text."""
    turn = message.model_dump(exclude_none=True, include=set(_MESSAGE_FIELDS))
    parts = message.content_parts or []
    if any(part.get("type") != "text" for part in parts):
        return None
    if parts:
        turn["content"] = "".join(part["text"] for part in parts)
    if message.role == "assistant":
        turn["weight"] = 0
    return turn
