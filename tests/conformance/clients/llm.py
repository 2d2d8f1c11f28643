"""A conversation through Simon Willison's `llm`, by its command line; the model is named by the first argument.

`llm` knows models of other servers by a file in its own folder; `LLM_USER_PATH` says where that is.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

MODELS = """- model_id: tuned
  model_name: "{model}"
  api_base: "{url}"
"""


def llm(*arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "llm"), *arguments, "--key", os.environ["OPENAI_API_KEY"]]
    options = ["-o", "temperature", "0", "-o", "max_tokens", "8"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout.removesuffix("\n")


folder = Path(os.environ["LLM_USER_PATH"])
folder.joinpath("extra-openai-models.yaml").write_text(
    MODELS.format(model=sys.argv[1], url=os.environ["OPENAI_BASE_URL"])
)
first = llm("-m", "tuned", "--no-stream", "number 3")
second = llm("--continue", "--no-stream", "number 4")
llm("-m", "tuned", "number 3")
streamed = llm("--continue", "number 4")
print(json.dumps({"first": first, "second": second, "streamed": streamed}))
