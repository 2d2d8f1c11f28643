"""Log-probabilities of a few examples under the trained model, stored with the adapter for the parity check.

An adapter that is loaded wrongly, scaled wrongly or silently left out still answers fluently; only the numbers reveal
it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

FILE = "proof.json"


@dataclass(frozen=True)
class ParitySample:
    """One example with the trainer's numbers.

    Attributes:
        ids: Its tokens.
        positions: The indices in `ids` of the trained tokens; at least 1, since the first token is never a target.
        logprobs: The log-probability of each trained token, in nats.
        likeliest: Whether each trained token is the likeliest one.
        base_logprobs: As `logprobs`, of the base model without the adapter; empty for a complete model.
    """

    ids: list[int]
    positions: list[int]
    logprobs: list[float]
    likeliest: list[bool]
    base_logprobs: list[float] = field(default_factory=list)


def write(adapter: Path, samples: list[ParitySample]) -> None:
    records = [
        {
            "ids": sample.ids,
            "at": sample.positions,
            "logprobs": sample.logprobs,
            "likeliest": sample.likeliest,
            "base": sample.base_logprobs,
        }
        for sample in samples
    ]
    (adapter / FILE).write_text(json.dumps(records), encoding="utf-8")


def read(adapter: Path) -> list[ParitySample]:
    """The samples in an adapter's folder. Raises OSError if the file is missing, ValueError if it is not JSON."""
    records = json.loads((adapter / FILE).read_text(encoding="utf-8"))
    return [  # earlier releases did not write "base"
        ParitySample(record["ids"], record["at"], record["logprobs"], record["likeliest"], record.get("base", []))
        for record in records
    ]
