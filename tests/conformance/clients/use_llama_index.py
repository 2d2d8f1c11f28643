"""LlamaIndex: the class `OpenAI` takes names of OpenAI's models; `OpenAILike` takes any, and so does `OpenAIResponses`
with a context length."""

import json
import os
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
called = {}


class Light(BaseModel):
    room: str
    brightness: int


def set_light(room: str, brightness: int) -> str:
    """Set the brightness of the lights in a room."""
    called.update(room=room, brightness=brightness)
    return "done"


server = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"], "max_retries": 0}
use_responses = os.environ["API"] == "responses"
if use_responses:
    model = OpenAIResponses(model=sys.argv[1], context_window=2048, **server)
else:
    model = OpenAILike(
        model=sys.argv[1],
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        **server,
    )
history = [ChatMessage(HELLO)]
first = model.chat(history)
second = model.chat([*history, first.message, ChatMessage(MORE)])
streamed = "".join(chunk.delta for chunk in model.stream_chat(history))
tool = FunctionTool.from_defaults(set_light)
turns = [ChatMessage(DIM)]
reply = model.chat_with_tools([tool], chat_history=turns)
(call,) = model.get_tool_calls_from_response(reply)
result = ChatMessage(tool(**call.tool_kwargs).content, role="tool", additional_kwargs={"tool_call_id": call.tool_id})
answer = model.chat_with_tools([tool], chat_history=[*turns, reply.message, result])
parsed = model.as_structured_llm(Light).complete(AS_JSON)
heard = {"first": first.message.content, "second": second.message.content, "streamed": streamed}
heard |= {"called": called, "answer": answer.message.content, "parsed": json.loads(parsed.text)}
if use_responses:
    reply = model.chat_with_tools([tool], os.environ["DIM_BOTH"], allow_parallel_tool_calls=True)
    heard["both"] = [call.tool_kwargs for call in model.get_tool_calls_from_response(reply)]
print(json.dumps(heard))
