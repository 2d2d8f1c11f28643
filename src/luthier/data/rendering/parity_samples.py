"""What a trainer's own model says of a few examples, written beside the adapter for whoever serves it to compare.

An adapter that is read wrongly, scaled wrongly or silently left out answers fluently and wrongly; only its numbers
show it. Knows nothing about how they are computed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "proof.json"


@dataclass(frozen=True)
class Proof:
    """One example: `ids` of its tokens; `at`: places (from 1) of trained tokens; for each of them `logprobs`, natural
    logarithms, and `likeliest`, whether no token was likelier.
    """

    ids: list[int]
    at: list[int]
    logprobs: list[float]
    likeliest: list[bool]


def write(adapter: Path, proofs: list[Proof]) -> None:
    (adapter / FILE).write_text(json.dumps([asdict(proof) for proof in proofs]), encoding="utf-8")


def read(adapter: Path) -> list[Proof]:
    """Raises OSError, ValueError where there is none to be read."""
    return [Proof(**value) for value in json.loads((adapter / FILE).read_text(encoding="utf-8"))]
