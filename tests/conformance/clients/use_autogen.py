"""AutoGen."""

import asyncio
import json
import os
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import AssistantMessage, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
called = {}


class Light(BaseModel):
    room: str
    brightness: int


async def set_light(room: str, brightness: int) -> str:
    """Set the brightness of the lights in a room."""
    called.update(room=room, brightness=brightness)
    return "done"


async def main() -> dict:
    info = {"vision": False, "function_calling": True, "json_output": True, "structured_output": True}
    model = OpenAIChatCompletionClient(
        model=sys.argv[1],
        base_url=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        model_info={**info, "family": "unknown"},
        max_retries=0,
    )
    history = [UserMessage(content=HELLO, source="user")]
    first = (await model.create(history)).content
    turns = [*history, AssistantMessage(content=first, source="model"), UserMessage(content=MORE, source="user")]
    second = (await model.create(turns)).content
    streamed = "".join([piece async for piece in model.create_stream(history) if isinstance(piece, str)])
    agent = AssistantAgent("house", model, tools=[set_light], reflect_on_tool_use=True)
    answer = (await agent.run(task=DIM)).messages[-1].content
    parsed = (await model.create([UserMessage(content=AS_JSON, source="user")], json_output=Light)).content
    heard = {"first": first, "second": second, "streamed": streamed, "called": called, "answer": answer}
    return heard | {"parsed": json.loads(parsed)}


print(json.dumps(asyncio.run(main())))
