"""Log-probabilities of a few examples under the trained model, stored with the adapter for the parity check.

An adapter that is loaded wrongly, scaled wrongly or silently left out answers fluently and wrongly; only its numbers
show it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

FILE = "proof.json"


@dataclass(frozen=True)
class ParitySample:
    """One example. `ids`: its tokens; `positions`: those of trained tokens, from 1. Per position: `logprobs`, natural
    logarithms, and `likeliest`, whether no token was likelier; `base_logprobs`, those of the base model without the
    adapter, empty for a complete model.
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
    """Raises OSError, ValueError if the file is missing or unreadable."""
    records = json.loads((adapter / FILE).read_text(encoding="utf-8"))
    return [  # a trainer of an earlier release wrote no base
        ParitySample(record["ids"], record["at"], record["logprobs"], record["likeliest"], record.get("base", []))
        for record in records
    ]
