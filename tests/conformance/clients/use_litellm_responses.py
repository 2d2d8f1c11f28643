"""LiteLLM, by the Responses API."""

import json
import os
import sys

import litellm
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
SET_LIGHT = {
    "type": "function",
    "name": "set_light",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string"}, "brightness": {"type": "integer"}},
        "required": ["room", "brightness"],
    },
}


class Light(BaseModel):
    room: str
    brightness: int


def ask(turns, **more):
    model, url = f"openai/{sys.argv[1]}", os.environ["OPENAI_BASE_URL"]
    return litellm.responses(model=model, api_base=url, input=turns, **more)


def calls_of(response):
    return [json.loads(item.arguments) for item in response.output if item.type == "function_call"]


first = ask(HELLO)
second = ask(MORE, previous_response_id=first.id)
deltas = (event.delta for event in ask(HELLO, stream=True) if event.type == "response.output_text.delta")
streamed = "".join(deltas)
called = ask(DIM, tools=[SET_LIGHT])
result = {"type": "function_call_output", "call_id": called.output[-1].call_id, "output": "done"}
answer = ask([result], previous_response_id=called.id, tools=[SET_LIGHT])
both = calls_of(ask(os.environ["DIM_BOTH"], tools=[SET_LIGHT]))
parsed = json.loads(ask(AS_JSON, text_format=Light).output_text)
heard = {"first": first.output_text, "second": second.output_text, "streamed": streamed, "both": both}
print(json.dumps(heard | {"called": calls_of(called)[0], "answer": answer.output_text, "parsed": parsed}))
