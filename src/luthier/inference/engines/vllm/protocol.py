"""Requests to vLLM's server and what it answers: token ids in, tokens with log-probabilities out.

Source: vLLM's OpenAI-compatible server, `vllm/entrypoints/openai/completion/protocol.py`. Sends nothing itself.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.inference.engine import Generation, Token
from luthier.types.errors import APIError, BadRequestError, UnavailableError


def request(generation: Generation, model: str) -> dict[str, Any]:
    """The body for `/v1/completions`. Everything is said, so that nothing of the model's own defaults comes in."""
    sampling = generation.sampling
    body = {
        "model": model,
        "prompt": generation.prompt,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p or 1e-6,  # 0 is no share to vLLM; the likeliest token always stays
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": None if sampling.seed is None else sampling.seed % 2**63,
        "stop_token_ids": sorted(sampling.stop_ids),
        "ignore_eos": True,  # the stop tokens above say it all
        "logprobs": sampling.top_logprobs,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.grammar:
        body["structured_outputs"] = {"grammar": sampling.grammar}
    return body


def tokens(choice: dict[str, Any], top: int) -> Iterator[Token]:
    """Those of one chunk."""
    said = choice.get("logprobs") or {}
    ids = choice.get("token_ids") or []
    likely = said.get("top_logprobs") or [None] * len(ids)
    for place, token in enumerate(ids):
        best = {_id(name): value for name, value in (likely[place] or {}).items()}
        likeliest = sorted(best.items(), key=lambda one: -one[1])[:top]
        yield Token(token, float(said["token_logprobs"][place]), tuple(likeliest))


def score_request(prompt: list[int], model: str, top: int) -> dict[str, Any]:
    """For the log-probabilities of a text that is there; vLLM generates a token at least."""
    return {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": top}


def scored(prompt: list[int], choice: dict[str, Any], top: int, start: int) -> list[Token]:
    """The tokens of a prompt from place `start` on."""
    made = []
    for token, said in zip(prompt[start:], choice["prompt_logprobs"][start:], strict=True):
        values = {int(one): float(about["logprob"]) for one, about in said.items()}
        likeliest = sorted(values.items(), key=lambda one: -one[1])[:top]
        made.append(Token(token, values[token], tuple(likeliest)))
    return made


def adapter_name(adapter: Path) -> str:
    """A name for these weights and no others, also on a server that outlives us."""
    changed = (adapter / "adapter_model.safetensors").stat().st_mtime_ns
    return "luthier-" + hashlib.sha256(f"{adapter} {changed}".encode()).hexdigest()[:20]


def trouble(status: int, body: Any) -> APIError:
    """An error of vLLM's as one that can be sent on."""
    said = body.get("error", body) if isinstance(body, dict) else body
    message = str(said.get("message", said) if isinstance(said, dict) else said)[:1000]
    if status == 400:
        return BadRequestError(f"vLLM refuses the request: {message}")
    if status in (401, 403):
        return UnavailableError("vLLM refuses this server's key; its operator can set LUTHIER_VLLM_API_KEY.")
    return UnavailableError(f"vLLM answered with status {status}: {message}")


def _id(name: str) -> int:
    """`token_id:123`"""
    return int(name.rpartition(":")[2])
