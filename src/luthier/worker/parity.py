"""The parity gate: before a job succeeds, the serving path must say of a few examples what the trainer said of them.

Both compute with the same weights, so their log-probabilities differ by rounding and nothing else.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from luthier.data.rendering.parity_samples import Proof, read
from luthier.hardware import may_pass
from luthier.inference import Engine, Token
from luthier.types.errors import JobError, LuthierError, RateLimitError, UnavailableError

# Mean difference of log-probabilities, in nats. Rounding in bfloat16 stays under a twentieth of it; an adapter that is
# left out or scaled by two lies far above. float32 leaves hardly anything to round.
MOST = {"bfloat16": 0.1, "float32": 0.005}
_WAIT_S = 600.0


def check(start: Callable[[], Engine], made: Path, precision: str, *, whole: bool = False) -> str:
    """What was found, for an event; `made` is an adapter's folder, or a `whole` model's, `start` gives its engine.

    Raises JobError when the served model is not the one that was trained. What may pass, a full queue or no memory,
    is raised as it is.
    """
    try:
        proofs, engine = read(made), start()
        served = [_score(engine, proof, None if whole else made) for proof in proofs]
    except Exception as error:  # whatever an engine cannot do with it, nobody could ask this model anything
        if may_pass(error) or isinstance(error, RateLimitError | UnavailableError):
            raise
        why = str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"
        raise JobError("parity_failed", f"The fine-tuned model cannot be served: {why}") from error
    gaps = [np.abs(logprobs - np.array(proof.logprobs)) for proof, (logprobs, _) in zip(proofs, served, strict=True)]
    mean = float(np.concatenate(gaps).mean())
    turned = sum(int((np.array(p.likeliest) != top).sum()) for p, (_, top) in zip(proofs, served, strict=True))
    tokens = sum(len(gap) for gap in gaps)
    found = (
        f"mean difference {mean:.4f} over {tokens} tokens of {len(proofs)} examples, {turned} likeliest tokens differ"
    )
    if not mean <= MOST[precision]:
        worst = max(range(len(gaps)), key=lambda index: float(gaps[index].max()))
        at = int(gaps[worst].argmax())
        raise JobError(
            "parity_failed",
            f"The serving path does not give the answers that were trained: {found}, at most {MOST[precision]} is "
            f"rounding. Example {worst + 1}, token {proofs[worst].at[at]}: {proofs[worst].logprobs[at]:.3f} in "
            f"training, {served[worst][0][at]:.3f} in serving. Try another --engine, and report it.",
        )
    return f"Checked: the serving path gives what was trained ({found})"


def _score(engine: Engine, proof: Proof, adapter: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(log-probabilities at the trained tokens, whether each is the likeliest there)."""
    start = min(proof.at, default=1)
    tokens = _waited(engine, proof, adapter, start)
    chosen = [tokens[place - start] for place in proof.at]
    logprobs = np.array([token.logprob for token in chosen])
    return logprobs, np.array([token.top[0][1] <= token.logprob for token in chosen])


def _waited(engine: Engine, proof: Proof, adapter: Path | None, start: int) -> list[Token]:
    """Requests of people may fill the queue; the gate waits its turn."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            return engine.score(proof.ids, adapter, 1, start=start).result(_WAIT_S)
        except RateLimitError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
