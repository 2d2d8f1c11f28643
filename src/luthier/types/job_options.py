"""What a job asks of training beyond OpenAI's parameters: keys of its metadata that begin with `luthier:`.

OpenAI's own clients can send them, and other services pass them over. Knows nothing about base models: whether one
has the layers that are named is for `luthier.weights` to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PREFIX = "luthier:"
RANK, ALPHA, TARGETS, TUNING = "luthier:rank", "luthier:alpha", "luthier:targets", "luthier:tuning"
VALIDATE_AT = "luthier:validate_at"
SWEEP = "luthier:sweep"  # what a sweep marks its jobs with; asks for nothing
KEYS = (RANK, ALPHA, TARGETS, TUNING, VALIDATE_AT, SWEEP)
HIGHEST_RANK, HIGHEST_ALPHA = 512, 4096

Tuning = Literal["lora", "full"]


@dataclass(frozen=True)
class JobOptions:
    """None: as the server's settings say. `targets`: `all-linear`, `attention`, `mlp`, or names with commas between.

    `validate_at`: shares of all steps after which the whole validation file is measured, besides the ends of epochs.
    """

    rank: int | None = None
    alpha: int | None = None
    targets: str | None = None
    tuning: Tuning = "lora"
    validate_at: tuple[float, ...] = ()

    @property
    def of_adapter(self) -> list[str]:
        """The keys given that shape an adapter."""
        given = {RANK: self.rank, ALPHA: self.alpha, TARGETS: self.targets}
        return [key for key, value in given.items() if value is not None]


def read(metadata: Mapping[str, str] | None) -> JobOptions:
    """Raises ValueError in words for the caller."""
    asked = {key: value for key, value in (metadata or {}).items() if key.startswith(PREFIX)}
    for key in asked:
        if key not in KEYS:
            raise ValueError(f"Unknown key '{key}' in the metadata. This server reads {', '.join(KEYS)}.")
    tuning = asked.get(TUNING, "lora")
    if tuning not in ("lora", "full"):
        raise ValueError(f"The metadata '{TUNING}' must be 'lora' or 'full', but it is '{tuning}'.")
    made = JobOptions(
        rank=_whole(asked, RANK, HIGHEST_RANK),
        alpha=_whole(asked, ALPHA, HIGHEST_ALPHA),
        targets=_targets(asked.get(TARGETS)),
        tuning="full" if tuning == "full" else "lora",
        validate_at=_shares(asked.get(VALIDATE_AT)),
    )
    if made.tuning == "full" and made.of_adapter:
        named = ", ".join(f"'{key}'" for key in made.of_adapter)
        raise ValueError(f"Full fine-tuning has no adapter: leave {named} out of the metadata, or '{TUNING}'.")
    return made


def step_at(share: float, total_steps: int) -> int:
    """The step that a share of all steps stands for."""
    return max(1, round(share * total_steps))


def _shares(value: str | None) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in value.split(",")) if value is not None else ()
    except ValueError:
        found = (0.0,)
    if not all(0 < share < 1 for share in found):
        raise ValueError(f"The metadata '{VALIDATE_AT}' must be shares such as 0.25,0.5, but it is '{value}'.")
    return found


def _whole(asked: Mapping[str, str], key: str, most: int) -> int | None:
    value = asked.get(key)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= most):
        raise ValueError(f"The metadata '{key}' must be a number from 1 to {most}, but it is '{value}'.")
    return int(value)


def _targets(value: str | None) -> str | None:
    """Names in order, each once, without spaces."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    if not all(name.replace("_", "").isalnum() for name in names):
        raise ValueError(
            f"The metadata '{TARGETS}' must be all-linear, attention, mlp, or names of layers with commas between, "
            f"but it is '{value}'."
        )
    return ",".join(dict.fromkeys(names))
