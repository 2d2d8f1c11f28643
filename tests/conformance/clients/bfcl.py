"""`bfcl` with one more model, `luthier-FC`: whatever BFCL_MODEL names, asked by chat completions as OpenAI's were.

The leaderboard's own entries for OpenAI's models use the Responses API. Arguments are those of `bfcl` itself.
"""

import os

from bfcl_eval.__main__ import cli
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING, ModelConfig
from bfcl_eval.model_handler.api_inference.openai_completion import OpenAICompletionsHandler

MODEL_CONFIG_MAPPING["luthier-FC"] = ModelConfig(
    model_name=os.environ["BFCL_MODEL"],
    display_name="Luthier",
    url="",
    org="",
    license="",
    model_handler=OpenAICompletionsHandler,
    underscore_to_dot=True,
)

if __name__ == "__main__":
    cli()
