"""OpenAI's Python client."""

import json
import sys

from openai import OpenAI
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


client = OpenAI(max_retries=0)


def ask(messages, **more):
    return client.chat.completions.create(model=sys.argv[1], messages=messages, **more)


history = [{"role": "user", "content": HELLO}]
first = ask(history).choices[0].message.content
history += [{"role": "assistant", "content": first}, {"role": "user", "content": MORE}]
second = ask(history).choices[0].message.content
chunks = ask([{"role": "user", "content": HELLO}], stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
turns = [{"role": "user", "content": DIM}]
message = ask(turns, tools=[SET_LIGHT]).choices[0].message
call = message.tool_calls[0]
turns += [message, {"role": "tool", "tool_call_id": call.id, "content": "done"}]
answer = ask(turns, tools=[SET_LIGHT]).choices[0].message.content
parsed = client.chat.completions.parse(
    model=sys.argv[1], messages=[{"role": "user", "content": AS_JSON}], response_format=Light
)
heard = {"first": first, "second": second, "streamed": streamed, "answer": answer}
heard |= {"called": json.loads(call.function.arguments)}
print(json.dumps(heard | {"parsed": parsed.choices[0].message.parsed.model_dump()}))
