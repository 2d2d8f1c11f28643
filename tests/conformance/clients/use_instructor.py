"""Instructor, whose results are objects: plain text goes through the client under it."""

import json
import os
import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]


class Light(BaseModel):
    room: str
    brightness: int


def ask(mode, text):
    client = instructor.from_openai(OpenAI(max_retries=0), mode=mode)
    messages = [{"role": "user", "content": text}]
    return client, {"model": sys.argv[1], "response_model": Light, "messages": messages, "max_retries": 0}


use_responses = os.environ["API"] == "responses"
client, request = ask(instructor.Mode.RESPONSES_TOOLS if use_responses else instructor.Mode.TOOLS, AS_JSON)
called = client.chat.completions.create(**request)
*_, streamed = client.chat.completions.create_partial(**request)
if not use_responses:
    client, request = ask(instructor.Mode.JSON_SCHEMA, AS_JSON)
parsed = client.chat.completions.create(**request)
heard = {"streamed_object": streamed.model_dump(), "called": called.model_dump(), "parsed": parsed.model_dump()}
print(json.dumps(heard))
