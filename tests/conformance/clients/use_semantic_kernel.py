"""Semantic Kernel."""

import asyncio
import json
import sys

from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
called = {}


class Light(BaseModel):
    room: str
    brightness: int


class House:
    @kernel_function
    def set_light(self, room: str, brightness: int) -> str:
        called.update(room=room, brightness=brightness)
        return "done"


async def main() -> dict:
    model = OpenAIChatCompletion(ai_model_id=sys.argv[1], async_client=AsyncOpenAI(max_retries=0))
    plain = OpenAIChatPromptExecutionSettings()
    history = ChatHistory()
    history.add_user_message(HELLO)
    pieces = [str(piece) async for piece in model.get_streaming_chat_message_content(history, plain)]
    first = str(await model.get_chat_message_content(history, plain))
    history.add_assistant_message(first)
    history.add_user_message(MORE)
    second = str(await model.get_chat_message_content(history, plain))
    kernel = Kernel()
    kernel.add_plugin(House(), "house")
    calling = OpenAIChatPromptExecutionSettings(function_choice_behavior=FunctionChoiceBehavior.Auto())
    house = ChatHistory()
    house.add_user_message(DIM)
    answer = str(await model.get_chat_message_content(house, calling, kernel=kernel))
    typed = OpenAIChatPromptExecutionSettings(response_format=Light)
    request = ChatHistory()
    request.add_user_message(AS_JSON)
    parsed = json.loads(str(await model.get_chat_message_content(request, typed)))
    heard = {"first": first, "second": second, "streamed": "".join(pieces)}
    return heard | {"called": called, "answer": answer, "parsed": parsed}


print(json.dumps(asyncio.run(main())))
