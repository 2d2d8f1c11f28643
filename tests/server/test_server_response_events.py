"""Events of a response: whatever a model writes, they add up to the response, for OpenAI's own accumulator too."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from luthier.inference import Token
from luthier.server.generation.choice_stream import Finish, Part, ReasoningDelta, TextDelta
from luthier.server.generation.tool_calls import CallDelta
from luthier.server.routes.responses.events import Event, ResponseEvents, replayed
from luthier.types.ids import new_id
from luthier.types.responses import ResponseObject, ResponseUsage

TEXTS = st.text(max_size=6)
USAGE = ResponseUsage(input_tokens=3, output_tokens=2, total_tokens=5).model_dump()


@st.composite
def _call(draw: st.DrawFn) -> list[Part]:
    """A call as the parser of calls writes it: its name first, then its arguments in pieces."""
    pieces = draw(st.lists(TEXTS, max_size=3))
    return [CallDelta(0, id=new_id("call_"), name=draw(TEXTS)), *(CallDelta(0, arguments=piece) for piece in pieces)]


WRITTEN = st.one_of(
    st.tuples(TEXTS, st.integers(0, 2)).map(lambda of: [TextDelta(of[0], [Token(1, -1.0)] * of[1])]),
    TEXTS.map(lambda text: [ReasoningDelta(text)]),
    _call(),
)
PARTS = st.lists(WRITTEN, max_size=6).map(lambda runs: [part for run in runs for part in run])
ENDINGS = st.sampled_from(["stop", "tool_calls", "length", "cancelled", "failed"])


def _logprobs(tokens: Any) -> list[dict[str, Any]]:
    return [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []} for _ in tokens]


def _streamed(parts: list[Part], ending: str, *, background: bool) -> tuple[list[Event], ResponseEvents]:
    status = "queued" if background else "in_progress"
    response = ResponseObject(id="resp_1", created_at=1, model="m", status=status, background=background)
    events = ResponseEvents(response.model_dump(mode="json"), _logprobs)

    def write() -> Iterator[Event]:
        yield from events.created()
        yield from events.started()
        for part in parts:
            yield from events.add(part)
        if ending in ("cancelled", "failed"):
            yield from events.fail({"code": "server_error", "message": "m"} if ending == "failed" else None)
        else:
            yield from events.add(Finish(ending))
            events.end(USAGE)
        yield events.ended()

    return json.loads(json.dumps(list(write()))), events


@given(PARTS, ENDINGS, st.booleans())
def test_events_add_up_to_the_response(parts: list[Part], ending: str, background: bool) -> None:
    streamed, events = _streamed(parts, ending, background=background)
    assert [event["sequence_number"] for event in streamed] == list(range(len(streamed)))
    final = streamed[-1]["response"]
    assert final == events.response
    assert ResponseObject(**final).model_dump(mode="json") == final
    assert streamed[0]["response"]["output"] == []
    added = [event for event in streamed if event["type"] == "response.output_item.added"]
    done = [event for event in streamed if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in added] == list(range(len(final["output"])))
    assert [event["item"] for event in done] == final["output"]
    assert [event["item"]["id"] for event in added] == [item["id"] for item in final["output"]]
    for index, item in enumerate(final["output"]):
        mine = [event for event in streamed if event.get("output_index") == index]
        assert {event.get("item_id", item["id"]) for event in mine} == {item["id"]}
        assert (mine[0]["type"], mine[-1]["type"]) == ("response.output_item.added", "response.output_item.done")
        text = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        whole = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert text == whole == _done_text(mine)
        logprobs = [entry for event in mine if "delta" in event for entry in event.get("logprobs", [])]
        if item["type"] == "message":
            assert logprobs == item["content"][0]["logprobs"]
    statuses = {"stop": "completed", "tool_calls": "completed", "length": "incomplete"}
    assert final["status"] == statuses.get(ending, ending)
    assert "in_progress" not in [item["status"] for item in final["output"]]
    if final["status"] == "completed":
        assert final["output"][-1]["type"] in ("message", "function_call")


def _done_text(events: list[Event]) -> str:
    fields = ("text", "arguments")
    done = [event for event in events if event["type"].endswith(("text.done", "arguments.done"))]
    assert len(done) == 1
    return next(done[0][name] for name in fields if name in done[0])


@given(PARTS, ENDINGS, st.booleans())
def test_a_stored_response_is_streamed_as_it_was(parts: list[Part], ending: str, background: bool) -> None:
    streamed, events = _streamed(parts, ending, background=background)
    assert list(replayed(events.response, events.deltas)) == streamed


@settings(max_examples=20)  # the client checks each event anew
@given(PARTS, ENDINGS, st.booleans())
def test_openais_accumulator_accepts_them(parts: list[Part], ending: str, background: bool) -> None:
    streamed, _ = _streamed(parts, ending, background=background)
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in streamed:
        state.handle_event(adapter.validate_python(event))
    if streamed[-1]["type"] == "response.completed":
        final = state._completed_response
        assert final.output_text == "".join(
            item["content"][0]["text"] for item in streamed[-1]["response"]["output"] if item["type"] == "message"
        )
    Response.model_validate(streamed[-1]["response"], strict=True)


@pytest.mark.parametrize("ending", ["stop", "length"])
def test_an_answer_without_a_word(ending: str) -> None:
    """A message where the model chose to end, nothing where it was not let begin."""
    streamed, _ = _streamed([], ending, background=False)
    output = streamed[-1]["response"]["output"]
    assert [item["content"][0]["text"] for item in output] == ([""] if ending == "stop" else [])
