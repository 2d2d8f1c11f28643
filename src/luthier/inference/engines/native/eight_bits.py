"""Whether a base may be served with weights in 8 bits: measured when it is first loaded, and stored in the cache
folder."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from luthier.data.rendering.parity_report import MAX_MEAN_DIFFERENCE
from luthier.inference.logprobs import token_logprobs
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.types.durable_text import write_durably

_log = logging.getLogger(__name__)
_VERSION = 2  # of the 8-bit format and of what is measured
# Nats. Half of the parity gate's limit in bfloat16; the other half is left for the rounding that the gate is meant for.
LIMIT = MAX_MEAN_DIFFERENCE["bfloat16"] / 2
_TEXT = (
    "The lighthouse keeper wrote in his log every night. On the 3rd of May 1887 a storm sank two ships off the coast; "
    "fourteen sailors were saved, and the owner paid them 250 pounds. 守塔人每天晚上都写日志。五月三日的风暴之后，"
    '十四名水手获救。{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}} '
    "def area(width, height):\n    return width * height\n"
)


def passes(base: Path, cache: Path, kernels: str, build: Callable[[bool], ModelRunner]) -> bool:
    """Whether 8 bits change the log-probabilities of a text by at most LIMIT on average.

    `kernels`: CPU tier and dtype of activations; `build`: the runner of the base, with 8 bits or without. Nothing is
    built if it has been measured before.
    """
    path = _folder(cache) / f"{_fingerprint(base, kernels)}.json"
    if path.exists():
        return bool(json.loads(path.read_text())["mean_difference"] <= LIMIT)
    difference = _mean_difference(base, build)
    _log.info("%s: weights in 8 bits change log-probabilities by %.4f nats, limit %g", base.name, difference, LIMIT)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps({"mean_difference": difference}))
    return difference <= LIMIT


def _mean_difference(base: Path, build: Callable[[bool], ModelRunner]) -> float:
    """The mean difference in nats; infinite for a base without tokenizer.json."""
    if not (base / "tokenizer.json").exists():
        return float("inf")
    ids = Tokenizer.from_file(str(base / "tokenizer.json")).encode(_TEXT).ids
    full, rounded = (_logprobs(build(eight_bits), ids) for eight_bits in (False, True))  # one in memory at a time
    return float(np.abs(full - rounded).mean())


def _logprobs(runner: ModelRunner, ids: Sequence[int]) -> np.ndarray:
    """Of each token after the first, float [len(ids) - 1]."""
    ids = ids[: runner.context_tokens]
    cache: Any = runner.kv_cache.allocate(len(ids), None, private=False)
    logits = runner.run([Chunk(ids, 0, cache, None, len(ids))])
    return np.array([token.logprob for token in token_logprobs(logits[:-1], ids[1:], 0)])


def _folder(cache: Path) -> Path:
    return cache / "eight-bits"


def _fingerprint(base: Path, kernels: str) -> str:
    """A fingerprint of the model's files and of the code and CPU tier that compute."""
    files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(base))
    return hashlib.sha256(repr((_VERSION, kernels, str(base), files)).encode()).hexdigest()[:16]
