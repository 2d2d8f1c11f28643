"""A response during generation: turns parts into server-sent events and the response's output.

The events and the output are made of the same pieces, so what a stream adds up to is the response that is answered
and stored; a stored response is streamed again from the lengths of its pieces.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from luthier.inference import Token
from luthier.server.generation.choice_stream import Finish, Part, ReasoningDelta, TextDelta
from luthier.server.generation.tool_calls import CallDelta
from luthier.server.routes.responses.items import Message, item_id
from luthier.store.response_items import Item
from luthier.types import chat
from luthier.types.common import now

Event = dict[str, Any]
Logprobs = list[dict[str, Any]]
# The content of an item: the type of its part, and the field that has its text.
_CONTENT = {"message": "output_text", "reasoning": "reasoning_text"}


class ResponseEvents:
    """The events of one response, numbered consecutively from 0."""

    def __init__(
        self,
        response: dict[str, Any],
        logprobs: Callable[[Sequence[Token]], Logprobs] = lambda tokens: [],
        new_item_id: Callable[[str], str] = item_id,
    ) -> None:
        """`response`: the object before its first token, which is updated up to its last."""
        self.response = response
        self.deltas: list[list[list[int]]] = []  # the pieces of each item: characters, and tokens with logprobs
        self._logprobs, self._new_item_id = logprobs, new_item_id
        self._output_item: Item | None = None  # the last item of the output, which is being written
        self._count = 0

    # -- the life of a response --------------------------------------------------------------------------------

    def created(self) -> Iterator[Event]:
        """The first events; for a background response, `queued` follows `created`."""
        yield self._lifecycle("created")
        if self.response["status"] == "queued":
            yield self._lifecycle("queued")

    def started(self) -> Iterator[Event]:
        self.response["status"] = "in_progress"
        yield self._lifecycle("in_progress")

    def add(self, part: Part) -> Iterator[Event]:
        """The events of one part. After a Finish, the response must be ended by `end`."""
        match part:
            case TextDelta():
                yield from self._text("message", part.text, self._logprobs(part.tokens))
            case ReasoningDelta():
                yield from self._text("reasoning", part.text, [])
            case CallDelta():
                if part.name is not None:
                    yield from self.begin("function_call", call_id=part.id or "", name=part.name)
                if part.arguments:
                    yield self.piece(part.arguments, [])
            case Finish():
                yield from self._finish(part.reason)

    def _text(self, kind: str, text: str, logprobs: Logprobs) -> Iterator[Event]:
        if not text and not logprobs:
            return
        if self._output_item is None or self._output_item["type"] != kind:
            yield from self.begin(kind)
        yield self.piece(text, logprobs)

    def _finish(self, reason: chat.FinishReason) -> Iterator[Event]:
        is_whole = reason != "length"
        if is_whole and (self._output_item is None or self._output_item["type"] == "reasoning"):
            yield from self.begin("message")  # an empty answer is a message, too
        yield from self.close("completed" if is_whole else "incomplete")
        if not is_whole:
            self.response |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}

    def end(self, usage: dict[str, Any]) -> None:
        """After the last part. The response is complete; `ended` is its last event."""
        if self.response["status"] == "in_progress":
            self.response |= {"status": "completed", "completed_at": now()}
        self.response["usage"] = usage

    def fail(self, error: dict[str, str] | None) -> Iterator[Event]:
        """End the response early; without an error it was cancelled. `ended` is its last event."""
        yield from self.close("incomplete")
        status = "failed" if error else "cancelled"
        self.response |= {"status": status, "error": error, "completed_at": None, "usage": None}

    def ended(self) -> Event:
        """The last event. OpenAI's streams have no event for a cancelled response, so it is reported as incomplete."""
        status: str = self.response["status"]
        return self._lifecycle("incomplete" if status == "cancelled" else status)

    # -- items and their pieces ----------------------------------------------------------------------------------

    def begin(self, kind: str, **fields: str) -> Iterator[Event]:
        """Begins a new output item, which completes the item before it."""
        yield from self.close("completed")
        item: Item = {"id": self._new_item_id(kind), "type": kind, "status": "in_progress"}
        if kind == "message":
            item |= {"role": "assistant", "content": []}
        elif kind == "reasoning":
            item |= {"summary": [], "content": []}
        else:
            item |= {**fields, "arguments": ""}
        yield self._event("output_item.added", output_index=len(self.response["output"]), item=_copy(item))
        self.response["output"].append(item)
        self.deltas.append([])
        self._output_item = item
        if kind in _CONTENT:
            part: Item = {"type": _CONTENT[kind], "text": ""}
            if kind == "message":
                part |= {"annotations": [], "logprobs": []}
            item["content"].append(part)
            yield self._in_content("content_part.added", part=_copy(part))

    def piece(self, text: str, logprobs: Logprobs) -> Event:
        """Adds a piece to the current item."""
        item = self._open_item()
        self.deltas[-1].append([len(text), len(logprobs)])
        if item["type"] == "function_call":
            item["arguments"] += text
            return self._in_item("function_call_arguments.delta", delta=text)
        part = item["content"][0]
        part["text"] += text
        if item["type"] == "reasoning":
            return self._in_content("reasoning_text.delta", delta=text)
        part["logprobs"] += logprobs
        return self._in_content("output_text.delta", delta=text, logprobs=logprobs)

    def close(self, status: str) -> Iterator[Event]:
        """Completes the current item, if there is one."""
        if self._output_item is None:
            return
        output_item = self._output_item
        if output_item["type"] == "function_call":
            done = {"name": output_item["name"], "arguments": output_item["arguments"]}
            yield self._in_item("function_call_arguments.done", **done)
        else:
            part = output_item["content"][0]
            text = {"text": part["text"]}
            if output_item["type"] == "message":
                text |= {"logprobs": part["logprobs"]}
            yield self._in_content(f"{_CONTENT[output_item['type']]}.done", **text)
            yield self._in_content("content_part.done", part=_copy(part))
        output_item["status"] = status
        yield self._event("output_item.done", output_index=self._index, item=_copy(output_item))
        self._output_item = None

    @property
    def _index(self) -> int:
        return len(self.response["output"]) - 1

    def _open_item(self) -> Item:
        if self._output_item is None:
            raise RuntimeError("a piece of an item that has not begun")
        return self._output_item

    def _in_content(self, kind: str, **fields: Any) -> Event:
        return self._in_item(kind, content_index=0, **fields)

    def _in_item(self, kind: str, **fields: Any) -> Event:
        return self._event(kind, item_id=self._open_item()["id"], output_index=self._index, **fields)

    def _lifecycle(self, kind: str) -> Event:
        return self._event(kind, response=_copy(self.response))

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": f"response.{kind}", "sequence_number": self._count, **fields}
        self._count += 1
        return event


def replayed(response: dict[str, Any], deltas: list[list[list[int]]]) -> Iterator[Event]:
    """The events of a stored response, as they were streamed."""
    output: list[Item] = response["output"]
    ids = iter([item["id"] for item in output])
    before = response | {"output": [], "usage": None, "completed_at": None, "error": None, "incomplete_details": None}
    before["status"] = "queued" if response["background"] else "in_progress"
    events = ResponseEvents(before, new_item_id=lambda kind: next(ids))
    yield from events.created()
    yield from events.started()
    for item, pieces in zip(output, deltas, strict=True):
        yield from events.begin(item["type"], **{name: item[name] for name in ("call_id", "name") if name in item})
        text, logprobs = _content(item)
        position = token = 0
        for characters, tokens in pieces:
            yield events.piece(text[position : position + characters], logprobs[token : token + tokens])
            position, token = position + characters, token + tokens
        yield from events.close(item["status"])
    ending = ("status", "completed_at", "error", "incomplete_details", "usage")
    events.response |= {name: response[name] for name in ending}
    yield events.ended()


def _content(item: Item) -> tuple[str, Logprobs]:
    if item["type"] == "function_call":
        return item["arguments"], []
    part = item["content"][0]
    return part["text"], part.get("logprobs", [])


def _copy(value: Message) -> Message:
    """A deep copy of a JSON value."""
    return {name: _copied(entry) for name, entry in value.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return _copy(value)
    return [_copied(entry) for entry in value] if isinstance(value, list) else value
