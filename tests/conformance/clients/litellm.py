"""A conversation through LiteLLM; the model is named by the first argument."""

import json
import os
import sys

sys.path.pop(0)  # this file's own folder, in which it would find itself as `litellm`

import litellm

asked = {
    "model": f"openai/{sys.argv[1]}",
    "api_base": os.environ["OPENAI_BASE_URL"],
    "temperature": 0,
    "max_tokens": 8,
    "num_retries": 0,
}
history = [{"role": "user", "content": "number 3"}]
first = litellm.completion(messages=history, **asked).choices[0].message
history += [first.model_dump(include={"role", "content"}), {"role": "user", "content": "number 4"}]
second = litellm.completion(messages=history, **asked)
chunks = litellm.completion(messages=history, stream=True, **asked)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
said = {"first": first.content, "second": second.choices[0].message.content, "streamed": streamed}
print(json.dumps(said | {"tokens": second.usage.completion_tokens}))
