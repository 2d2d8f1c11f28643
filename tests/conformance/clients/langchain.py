"""A conversation through LangChain's ChatOpenAI; the model is named by the first argument."""

import json
import sys

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=sys.argv[1], temperature=0, max_completion_tokens=8, max_retries=0)
history = [HumanMessage("number 3")]
first = model.invoke(history)
history += [first, HumanMessage("number 4")]
second = model.invoke(history)
streamed = "".join(chunk.content for chunk in model.stream(history))
said = {"first": first.content, "second": second.content, "streamed": streamed}
print(json.dumps(said | {"tokens": second.usage_metadata["output_tokens"]}))
