"""LangChain."""

import json
import os
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
called = {}


class Light(BaseModel):
    room: str
    brightness: int


@tool
def set_light(room: str, brightness: int) -> str:
    """Set the brightness of the lights in a room."""
    called.update(room=room, brightness=brightness)
    return "done"


use_responses = os.environ["API"] == "responses"
model = ChatOpenAI(model=sys.argv[1], max_retries=0, use_responses_api=use_responses)
history = [HumanMessage(HELLO)]
first = model.invoke(history)
second = model.invoke([*history, first, HumanMessage(MORE)])
streamed = "".join(chunk.text for chunk in model.stream(history))
with_tool = model.bind_tools([set_light])
turns = [HumanMessage(DIM)]
turns.append(with_tool.invoke(turns))
call = turns[-1].tool_calls[0]
turns.append(ToolMessage(set_light.invoke(call["args"]), tool_call_id=call["id"]))
answer = with_tool.invoke(turns)
parsed = model.with_structured_output(Light).invoke(AS_JSON)
heard = {"first": first.text, "second": second.text, "streamed": streamed}
heard |= {"called": called, "answer": answer.text, "parsed": parsed.model_dump()}
if use_responses:
    heard["both"] = [call["args"] for call in with_tool.invoke(os.environ["DIM_BOTH"]).tool_calls]
print(json.dumps(heard))
