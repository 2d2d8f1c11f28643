"""OpenAI's Python client, by the Responses API: turns by `previous_response_id` and by `conversation`."""

import json
import os
import sys

from openai import OpenAI
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
SET_LIGHT = {
    "type": "function",
    "name": "set_light",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string"}, "brightness": {"type": "integer"}},
        "required": ["room", "brightness"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Light(BaseModel):
    room: str
    brightness: int


client = OpenAI(max_retries=0)


def ask(turns, **more):
    return client.responses.create(model=sys.argv[1], input=turns, **more)


def calls_of(response):
    return [json.loads(item.arguments) for item in response.output if item.type == "function_call"]


first = ask(HELLO)
second = ask(MORE, previous_response_id=first.id)
conversation = client.conversations.create().id
ask(HELLO, conversation=conversation)
assert ask(MORE, conversation=conversation).output_text == second.output_text
with client.responses.stream(model=sys.argv[1], input=HELLO) as stream:
    streamed = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert stream.get_final_response().output_text == streamed
turns = [{"role": "user", "content": DIM}]
called = ask(turns, tools=[SET_LIGHT])
result = {"type": "function_call_output", "call_id": called.output[-1].call_id, "output": "done"}
answer = ask([*turns, *called.output, result], tools=[SET_LIGHT])
both = calls_of(ask(os.environ["DIM_BOTH"], tools=[SET_LIGHT]))
parsed = client.responses.parse(model=sys.argv[1], input=AS_JSON, text_format=Light).output_parsed
heard = {"first": first.output_text, "second": second.output_text, "streamed": streamed, "both": both}
heard |= {"called": calls_of(called)[0], "answer": answer.output_text, "parsed": parsed.model_dump()}
print(json.dumps(heard))
