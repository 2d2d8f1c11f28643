"""The parity gate: before a job succeeds, the engine that will serve it must give the trainer's log-probabilities."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from luthier.data.rendering.parity_report import Comparison, ParityReport, compare
from luthier.data.rendering.parity_samples import ParitySample, read
from luthier.hardware import is_transient
from luthier.inference import Engine, Token
from luthier.types.errors import JobError, LuthierError, RateLimitError, UnavailableError

_QUEUE_TIMEOUT_S = 600.0
_REMEDIES = {
    "bfloat16": "--precision float32, which hardly rounds, or another --engine",
    "float32": "another --engine, and report it",
}


def check(start: Callable[[], Engine], model: Path, precision: str, *, full: bool = False) -> ParityReport:
    """Scores the parity samples in the folder `model` (an adapter's, or with `full` a complete model's).

    `start` returns its engine. Raises JobError if the served model differs from the trained one. Transient errors, such
    as a full queue or lack of memory, are raised unchanged.
    """
    try:
        samples, engine = read(model), start()
        compared = [_compare(engine, sample, None if full else model) for sample in samples]
    except Exception as error:  # if the engine fails on this model here, it would fail on every request
        if is_transient(error) or isinstance(error, RateLimitError | UnavailableError):
            raise
        why = str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"
        raise JobError("parity_failed", f"The fine-tuned model cannot be served: {why}") from error
    report = replace(compare(compared), eight_bits=engine.eight_bits)
    reason = report.failure(precision)
    if reason:
        remedy = "--serving-weights full" if engine.eight_bits else _REMEDIES[precision]
        raise JobError("parity_failed", _failure(report, compared, reason, remedy))
    return report


def _failure(report: ParityReport, compared: list[Comparison], reason: str, remedy: str) -> str:
    """The failure message: the target with the largest difference, and the remedy."""
    number, worst = max(enumerate(compared, 1), key=lambda numbered: float(numbered[1].gaps.max()))
    target = int(worst.gaps.argmax())
    return (
        f"The serving engine does not reproduce the trained model: {report.summary()}; {reason}. "
        f"Example {number}, token {worst.sample.positions[target]}: {worst.sample.logprobs[target]:.3f} in "
        f"training, {worst.logprobs[target]:.3f} in serving. "
        f"Try {remedy}."
    )


def _compare(engine: Engine, sample: ParitySample, adapter: Path | None) -> Comparison:
    logprobs, is_top = _score(engine, sample, adapter)
    base_logprobs = _score(engine, sample, None)[0] if adapter and sample.base_logprobs else None
    return Comparison(sample, logprobs, is_top, base_logprobs)


def _score(engine: Engine, sample: ParitySample, adapter: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities at the targets of a sample, and whether each target is the most likely token. Arrays
    [targets]."""
    start = min(sample.positions, default=1)
    scored = _scored_tokens(engine, sample, adapter, start)
    targets = [scored[place - start] for place in sample.positions]
    logprobs = np.array([token.logprob for token in targets])
    return logprobs, np.array([token.top[0][1] <= token.logprob for token in targets])


def _scored_tokens(engine: Engine, sample: ParitySample, adapter: Path | None, start: int) -> list[Token]:
    """Retries while interactive requests fill the engine's queue."""
    deadline = time.monotonic() + _QUEUE_TIMEOUT_S
    while True:
        try:
            return engine.score(sample.ids, adapter, 1, start=start).result(_QUEUE_TIMEOUT_S)
        except RateLimitError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
