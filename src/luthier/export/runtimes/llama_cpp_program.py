"""`python -m luthier.export.runtimes.llama_cpp_program ANSWERS.json`: queries one GGUF file with llama.cpp's own
server.

Reads the request from stdin and writes the answers as JSON. The server does not return log-probabilities of prompt
tokens, so the tokens before each target are sent as a prompt of their own; all but the last are in its KV cache. The
server also leaves out the probabilities where it samples a part of a character. A bias therefore forces it to sample a
letter, which does not change the reported probabilities, and the target is looked up among these.
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
_COUNTS = (64, 1 << 24)  # how many tokens to report: the most likely ones first, then the whole vocabulary


def main() -> None:
    """Answers the request on stdin in the file that the command line names."""
    request = json.loads(sys.stdin.buffer.read())
    server = _start(request)
    address, answers = server.listening_address, {}
    with httpx.Client(base_url=address, timeout=None, trust_env=False) as client:  # noqa: S113 - a long prompt may take
        options = {"add_special": False, "parse_special": False}
        letter = _post(client, "/tokenize", {"content": "a", **options})["tokens"][0]
        answers["scores"] = [_score(server, sample, letter) for sample in request["samples"]]
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


def _score(server: Any, sample: dict[str, Any], letter: int) -> dict[str, Any]:
    """The scores of a sample. They are NaN where the model's values overflow and no token has a probability."""
    logprobs, is_top = [], []
    for position in sample["positions"]:
        target = sample["ids"][position]
        for count in _COUNTS:
            likeliest = _likeliest(server, sample["ids"][:position], letter, count)
            if target in likeliest or not likeliest:
                break
        logprobs.append(likeliest.get(target, math.nan))
        is_top.append(next(iter(likeliest), None) == target)
    return {"logprobs": logprobs, "is_top": is_top}


def _likeliest(server: Any, prompt: list[int], letter: int, count: int) -> dict[int, float]:
    """The log-probabilities of the `count` most likely next tokens by token id, in descending order."""
    body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": count, "cache_prompt": True}
    answer = server.handle_completions({**body, "logit_bias": [[letter, _BIAS]]})
    answer = json.loads(answer) if isinstance(answer, str) else answer
    (token,) = answer["choices"][0]["logprobs"]["content"]
    if token["id"] != letter or token["logprob"] is None:
        return {}
    return {other["id"]: other["logprob"] for other in token["top_logprobs"]}


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, json=body).raise_for_status().json()


if __name__ == "__main__":
    main()
