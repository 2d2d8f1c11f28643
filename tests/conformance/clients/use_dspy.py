"""DSPy."""

import json
import os
import sys

import dspy

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
called = {}


def set_light(room: str, brightness: int) -> str:
    """Set the brightness of the lights in a room."""
    called.update(room=room, brightness=brightness)
    return "done"


url, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
model = dspy.LM(f"openai/{sys.argv[1]}", api_base=url, api_key=key, cache=False, num_retries=0)
history = [{"role": "user", "content": HELLO}]
(first,) = model(messages=history)
(second,) = model(messages=[*history, {"role": "assistant", "content": first}, {"role": "user", "content": MORE}])
tool = dspy.Tool(set_light).format_as_litellm_function_call()
(reply,) = model(messages=[{"role": "user", "content": DIM}], tools=[tool])
call = reply["tool_calls"][0]
set_light(**json.loads(call["function"]["arguments"]))
turn = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": call["id"], "type": "function"}
        | {"function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}}
    ],
}
result = {"role": "tool", "tool_call_id": call["id"], "content": "done"}
(answer,) = model(messages=[{"role": "user", "content": DIM}, turn, result], tools=[tool])
dspy.configure(lm=model, adapter=dspy.JSONAdapter())
parsed = dspy.Predict("request -> room: str, brightness: int")(request=AS_JSON)
heard = {"first": first, "second": second, "called": called, "answer": answer}
print(json.dumps(heard | {"parsed": {"room": parsed.room, "brightness": parsed.brightness}}))
