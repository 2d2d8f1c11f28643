"""Simon Willison's `llm`, by its command line.

`llm` knows models of other servers by a file in its own folder; `LLM_USER_PATH` says where that is.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HELLO, MORE, DIM, AS_JSON = sys.argv[2:]
MODELS = """- model_id: tuned
  model_name: "{model}"
  api_base: "{url}"
"""


def llm(*arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "llm"), *arguments, "--key", os.environ["OPENAI_API_KEY"]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.removesuffix("\n")


folder = Path(os.environ["LLM_USER_PATH"])
folder.joinpath("extra-openai-models.yaml").write_text(
    MODELS.format(model=sys.argv[1], url=os.environ["OPENAI_BASE_URL"])
)
first = llm("-m", "tuned", "--no-stream", HELLO)
second = llm("--continue", "--no-stream", MORE)
streamed = llm("-m", "tuned", HELLO)
print(json.dumps({"first": first, "second": second, "streamed": streamed}))
