"""Log-probabilities of a few examples under the trained model, stored with the adapter for the parity check.

An adapter that is loaded wrongly, scaled wrongly or silently left out answers fluently and wrongly; only its numbers
show it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "proof.json"


@dataclass(frozen=True)
class ParitySample:
    """One example. `ids`: its tokens; `positions`: those of trained tokens, from 1. Per position: `logprobs`, natural
    logarithms, and `likeliest`, whether no token was likelier.
    """

    ids: list[int]
    positions: list[int]
    logprobs: list[float]
    likeliest: list[bool]


def write(adapter: Path, samples: list[ParitySample]) -> None:
    records = [
        {"ids": sample.ids, "at": sample.positions, "logprobs": sample.logprobs, "likeliest": sample.likeliest}
        for sample in samples
    ]
    (adapter / FILE).write_text(json.dumps(records), encoding="utf-8")


def read(adapter: Path) -> list[ParitySample]:
    """Raises OSError, ValueError if the file is missing or unreadable."""
    records = json.loads((adapter / FILE).read_text(encoding="utf-8"))
    return [ParitySample(sample["ids"], sample["at"], sample["logprobs"], sample["likeliest"]) for sample in records]
