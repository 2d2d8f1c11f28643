"""The parity gate: before a job succeeds, the engine that will serve it must reproduce the trainer's log-probabilities.

Both compute with the same weights, so the difference is rounding and nothing else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.data.rendering.parity_samples import ParitySample, read
from luthier.hardware import is_transient
from luthier.inference import Engine, Token
from luthier.types.errors import JobError, LuthierError, RateLimitError, UnavailableError

# Mean difference of log-probabilities, in nats. Rounding in bfloat16 stays under a twentieth of it; an adapter that is
# left out or scaled by two lies far above. float32 leaves hardly anything to round.
MAX_MEAN_DIFFERENCE = {"bfloat16": 0.1, "float32": 0.005}
_QUEUE_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class ParityReport:
    """`mean_difference` of log-probabilities, in nats; `top_differs`: targets that are likeliest on one side only."""

    mean_difference: float
    tokens: int
    examples: int
    top_differs: int

    def summary(self) -> str:
        measured = f"mean difference {self.mean_difference:.4f} over {self.tokens} tokens of {self.examples} examples"
        return f"{measured}, {self.top_differs} likeliest tokens differ"


@dataclass(frozen=True)
class _Comparison:
    """Of one sample: what serving computes at its targets. Arrays [targets]."""

    sample: ParitySample
    logprobs: np.ndarray
    is_top: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        return np.asarray(np.abs(self.logprobs - np.array(self.sample.logprobs)))

    @property
    def top_differs(self) -> int:
        return int((np.array(self.sample.likeliest) != self.is_top).sum())


def check(start: Callable[[], Engine], model: Path, precision: str, *, full: bool = False) -> ParityReport:
    """Scores the parity samples in the folder `model` (an adapter's, or with `full` a complete model's).

    `start` returns its engine. Raises JobError when the served model is not the one that was trained. Transient
    errors, such as a full queue or no memory, are raised as they are.
    """
    try:
        samples, engine = read(model), start()
        compared = [_score(engine, sample, None if full else model) for sample in samples]
    except Exception as error:  # whatever an engine cannot do with this model, no request could either
        if is_transient(error) or isinstance(error, RateLimitError | UnavailableError):
            raise
        why = str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"
        raise JobError("parity_failed", f"The fine-tuned model cannot be served: {why}") from error
    gaps = np.concatenate([comparison.gaps for comparison in compared])
    top_differs = sum(comparison.top_differs for comparison in compared)
    report = ParityReport(float(gaps.mean()), len(gaps), len(samples), top_differs)
    if not report.mean_difference <= MAX_MEAN_DIFFERENCE[precision]:
        raise JobError("parity_failed", _failure(report, compared, MAX_MEAN_DIFFERENCE[precision]))
    return report


def _failure(report: ParityReport, compared: list[_Comparison], limit: float) -> str:
    """Names the target with the largest difference."""
    number, worst = max(enumerate(compared, 1), key=lambda numbered: float(numbered[1].gaps.max()))
    target = int(worst.gaps.argmax())
    return (
        f"The serving path does not give the answers that were trained: {report.summary()}, at most {limit} is "
        f"rounding. Example {number}, token {worst.sample.positions[target]}: {worst.sample.logprobs[target]:.3f} in "
        f"training, {worst.logprobs[target]:.3f} in serving. Try another --engine, and report it."
    )


def _score(engine: Engine, sample: ParitySample, adapter: Path | None) -> _Comparison:
    start = min(sample.positions, default=1)
    scored = _scored_tokens(engine, sample, adapter, start)
    targets = [scored[place - start] for place in sample.positions]
    logprobs = np.array([token.logprob for token in targets])
    return _Comparison(sample, logprobs, np.array([token.top[0][1] <= token.logprob for token in targets]))


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
