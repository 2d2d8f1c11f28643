"""pydantic-ai: `openai:` is the Responses API, `OpenAIChatModel` (`openai-chat:`) selects chat completions."""

import json
import sys

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
called = {}


class Light(BaseModel):
    room: str
    brightness: int


def set_light(room: str, brightness: int) -> str:
    called.update(room=room, brightness=brightness)
    return "done"


model = OpenAIChatModel(sys.argv[1])
agent = Agent(model)
first = agent.run_sync(HELLO)
second = agent.run_sync(MORE, message_history=first.all_messages())
streamed = "".join(agent.run_stream_sync(HELLO).stream_text(delta=True))
house = Agent(model, tools=[set_light]).run_sync(DIM)
parsed = Agent(model, output_type=NativeOutput(Light)).run_sync(AS_JSON)
heard = {"first": first.output, "second": second.output, "streamed": streamed}
print(json.dumps(heard | {"called": called, "answer": house.output, "parsed": parsed.output.model_dump()}))
