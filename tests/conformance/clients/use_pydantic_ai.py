"""pydantic-ai: `openai:` is the Responses API, `OpenAIChatModel` (`openai-chat:`) selects chat completions."""

import json
import os
import sys

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
calls = []


class Light(BaseModel):
    room: str
    brightness: int


def set_light(room: str, brightness: int) -> str:
    calls.append({"room": room, "brightness": brightness})
    return "done"


use_responses = os.environ["API"] == "responses"
model = (OpenAIResponsesModel if use_responses else OpenAIChatModel)(sys.argv[1])
agent = Agent(model)
first = agent.run_sync(HELLO)
second = agent.run_sync(MORE, message_history=first.all_messages())
streamed = "".join(agent.run_stream_sync(HELLO).stream_text(delta=True))
house = Agent(model, tools=[set_light]).run_sync(DIM)
parsed = Agent(model, output_type=NativeOutput(Light)).run_sync(AS_JSON)
heard = {"first": first.output, "second": second.output, "streamed": streamed}
heard |= {"called": calls.pop(), "answer": house.output, "parsed": parsed.output.model_dump()}
if use_responses:
    Agent(model, tools=[set_light]).run_sync(os.environ["DIM_BOTH"])
    heard["both"] = calls
print(json.dumps(heard))
