"""OpenAI's Agents SDK: its default is the Responses API, `OpenAIChatCompletionsModel` selects chat completions."""

import asyncio
import json
import os
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
calls = []


class Light(BaseModel):
    room: str
    brightness: int


@function_tool
def set_light(room: str, brightness: int) -> str:
    calls.append({"room": room, "brightness": brightness})
    return "done"


async def main() -> dict:
    set_tracing_disabled(True)
    model = sys.argv[1]
    if os.environ["API"] == "chat completions":
        model = OpenAIChatCompletionsModel(model=model, openai_client=AsyncOpenAI(max_retries=0))
    agent = Agent(name="agent", model=model)
    first = await Runner.run(agent, HELLO)
    second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": MORE}])
    streamed = ""
    async for event in Runner.run_streamed(agent, HELLO).stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            streamed += event.data.delta
    house = await Runner.run(Agent(name="house", model=model, tools=[set_light]), DIM)
    parsed = await Runner.run(Agent(name="parser", model=model, output_type=Light), AS_JSON)
    heard = {"first": first.final_output, "second": second.final_output, "streamed": streamed}
    heard |= {"called": calls.pop(), "answer": house.final_output, "parsed": parsed.final_output.model_dump()}
    if os.environ["API"] == "responses":
        await Runner.run(Agent(name="house", model=model, tools=[set_light]), os.environ["DIM_BOTH"])
        heard["both"] = calls
    return heard


print(json.dumps(asyncio.run(main())))
