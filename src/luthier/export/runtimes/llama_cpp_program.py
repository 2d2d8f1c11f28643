"""`python -m luthier.export.runtimes.llama_cpp_program ANSWERS.json`: one GGUF file asked by llama.cpp's own server.

Reads the request from stdin and writes the answers as JSON. The server computes no log-probabilities of a prompt; so
each target is asked for as the next token, forced by a bias, which leaves the reported probability as it was. The
prompt before it is cached.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import httpx
import xllamacpp

_SPARE_TOKENS = 64
_BIAS = 1e4


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    server = _start(request)
    address, answers = server.listening_address, {}
    with httpx.Client(base_url=address, timeout=None, trust_env=False) as client:  # noqa: S113 - a long prompt may take
        answers["scores"] = [_score(server, sample) for sample in request["samples"]]
        options = {"add_special": False, "parse_special": False}
        answers["tokens"] = [
            _post(client, "/tokenize", {"content": text, **options})["tokens"] for text in request["texts"]
        ]
        answers["prompts"] = [_post(client, "/apply-template", body)["prompt"] for body in request["conversations"]]
    Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")


def _start(request: dict[str, Any]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = request["model"]
    if request["lora"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(request["lora"], 1.0)]
    parameters.n_ctx = max((len(sample["ids"]) for sample in request["samples"]), default=0) + _SPARE_TOKENS
    parameters.n_parallel, parameters.warmup, parameters.use_jinja = 1, False, True
    return xllamacpp.Server(parameters)


def _score(server: Any, sample: dict[str, Any]) -> dict[str, Any]:
    """NaN where the model's numbers overflow: then no token has a probability, and the bias does nothing."""
    logprobs, is_top = [], []
    for position in sample["positions"]:
        target = sample["ids"][position]
        body = {"prompt": sample["ids"][:position], "n_predict": 1, "temperature": 0, "n_probs": 1}
        answer = server.handle_completions({**body, "logit_bias": [[target, _BIAS]], "cache_prompt": True})
        answer = json.loads(answer) if isinstance(answer, str) else answer
        (token,) = answer["choices"][0]["logprobs"]["content"]
        is_number = token["id"] == target and token["logprob"] is not None
        logprobs.append(token["logprob"] if is_number else math.nan)
        is_top.append(is_number and token["top_logprobs"][0]["id"] == target)
    return {"logprobs": logprobs, "is_top": is_top}


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, json=body).raise_for_status().json()


if __name__ == "__main__":
    main()
