"""vLLM's wire format: requests with token ids, responses with tokens and log-probabilities. Sends nothing itself.

Source: vLLM's OpenAI-compatible server, `vllm/entrypoints/openai/completion/protocol.py`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.inference.engine import EngineRequest, Token
from luthier.types.errors import APIError, BadRequestError, UnavailableError

_MIN_TOP_P = 1e-6  # vLLM rejects 0; the most likely token always stays


def completion_request(request: EngineRequest, model: str) -> dict[str, Any]:
    """The body for `/v1/completions`, with every parameter set so that no default of the model applies."""
    sampling = request.sampling
    body = {
        "model": model,
        "prompt": request.prompt,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p or _MIN_TOP_P,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": None if sampling.seed is None else sampling.seed % 2**63,
        "stop_token_ids": sorted(sampling.stop_ids),
        "ignore_eos": True,  # the stop token ids include it where it applies
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


def chunk_tokens(choice: dict[str, Any], top: int) -> Iterator[Token]:
    """The tokens of one streamed chunk."""
    logprobs = choice.get("logprobs") or {}
    ids = choice.get("token_ids") or []
    top_logprobs = logprobs.get("top_logprobs") or [None] * len(ids)
    for index, token in enumerate(ids):
        values = {_token_id(name): value for name, value in (top_logprobs[index] or {}).items()}
        yield Token(token, float(logprobs["token_logprobs"][index]), _likeliest(values, top))


def score_request(prompt: list[int], model: str, top: int) -> dict[str, Any]:
    """For the log-probabilities of a prompt; vLLM generates at least one token."""
    return {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": top}


def scored_tokens(prompt: list[int], choice: dict[str, Any], top: int, start: int) -> list[Token]:
    """The tokens of `prompt[start:]`."""
    tokens = []
    for token, logprobs in zip(prompt[start:], choice["prompt_logprobs"][start:], strict=True):
        values = {int(other): float(details["logprob"]) for other, details in logprobs.items()}
        tokens.append(Token(token, values[token], _likeliest(values, top)))
    return tokens


def adapter_name(adapter: Path) -> str:
    """Unique to these weights, also on a server that outlives this process."""
    changed = (adapter / "adapter_model.safetensors").stat().st_mtime_ns
    return "luthier-" + hashlib.sha256(f"{adapter} {changed}".encode()).hexdigest()[:20]


def parse(content: bytes) -> Any:
    """A parsed JSON body, or its text if it is not JSON."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


def api_error(status: int, body: Any) -> APIError:
    """vLLM's error, for the client."""
    error = body.get("error", body) if isinstance(body, dict) else body
    message = str(error.get("message", error) if isinstance(error, dict) else error)[:1000]
    if status == 400:
        return BadRequestError(f"vLLM rejected the request: {message}")
    if status in (401, 403):
        return UnavailableError("vLLM refuses this server's key; its operator can set LUTHIER_VLLM_API_KEY.")
    return UnavailableError(f"vLLM answered with status {status}: {message}")


def _likeliest(values: dict[int, float], top: int) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(values.items(), key=lambda pair: -pair[1])[:top])


def _token_id(name: str) -> int:
    """From `token_id:123`."""
    return int(name.rpartition(":")[2])
