"""LiteLLM."""

import json
import os
import sys

import litellm
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
SET_LIGHT = {
    "type": "function",
    "function": {
        "name": "set_light",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "brightness": {"type": "integer"}},
            "required": ["room", "brightness"],
        },
    },
}


class Light(BaseModel):
    room: str
    brightness: int


def ask(messages, **more):
    model, url = f"openai/{sys.argv[1]}", os.environ["OPENAI_BASE_URL"]
    return litellm.completion(model=model, api_base=url, messages=messages, num_retries=0, **more)


history = [{"role": "user", "content": HELLO}]
first = ask(history).choices[0].message
turn = first.model_dump(include={"role", "content"})
second = ask([*history, turn, {"role": "user", "content": MORE}]).choices[0].message
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(history, stream=True))
turns = [{"role": "user", "content": DIM}]
message = ask(turns, tools=[SET_LIGHT]).choices[0].message
call = message.tool_calls[0]
turn = {"role": "assistant", "content": None, "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
answer = ask([*turns, turn, result], tools=[SET_LIGHT]).choices[0].message
parsed = ask([{"role": "user", "content": AS_JSON}], response_format=Light).choices[0].message
heard = {"first": first.content, "second": second.content, "streamed": streamed, "answer": answer.content}
print(json.dumps(heard | {"called": json.loads(call.function.arguments), "parsed": json.loads(parsed.content)}))
