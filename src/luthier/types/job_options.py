"""Luthier's own job parameters: metadata keys with the prefix `luthier:`.

OpenAI's clients can send them, and other services ignore them. Whether a base model has the named target modules is
checked by `luthier.weights`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PREFIX = "luthier:"
RANK, ALPHA, TARGETS, TUNING = "luthier:rank", "luthier:alpha", "luthier:targets", "luthier:tuning"
VALIDATE_AT = "luthier:validate_at"
EARLY_STOPPING = "luthier:early_stopping"
SWEEP = "luthier:sweep"  # marks the jobs of a sweep; no effect on training
IMPORTED_FROM = "luthier:imported_from"  # marks the jobs of another service; no effect on training
SUCCESSOR_OF = "luthier:successor_of"  # the model of another service whose data a job has; no effect on training
PRIORITY = "luthier:priority"  # in the queue; no effect on training
KEYS = (RANK, ALPHA, TARGETS, TUNING, VALIDATE_AT, EARLY_STOPPING, SWEEP, IMPORTED_FROM, SUCCESSOR_OF, PRIORITY)
MAX_RANK, MAX_ALPHA, MAX_PATIENCE, MAX_PRIORITY = 512, 4096, 1000, 10

Tuning = Literal["lora", "full"]


@dataclass(frozen=True)
class JobOptions:
    """Parsed parameters; None: the server's setting.

    `targets`: `all-linear`, `attention`, `mlp`, or comma-separated layer names. `validate_at`: fractions of the total
    steps after which the full validation loss is measured, in addition to the ends of epochs. `early_stopping`: the
    patience, that is, the number of consecutive measurements without a new lowest loss that ends training.
    """

    rank: int | None = None
    alpha: int | None = None
    targets: str | None = None
    tuning: Tuning = "lora"
    validate_at: tuple[float, ...] = ()
    early_stopping: int | None = None

    @property
    def adapter_keys(self) -> list[str]:
        """The metadata keys that set the shape of the adapter."""
        shape = {RANK: self.rank, ALPHA: self.alpha, TARGETS: self.targets}
        return [key for key, value in shape.items() if value is not None]


def parse(metadata: Mapping[str, str] | None) -> JobOptions:
    """Raises ValueError with a message for the client."""
    values = {key: value for key, value in (metadata or {}).items() if key.startswith(PREFIX)}
    for key in values:
        if key not in KEYS:
            raise ValueError(f"Unknown key '{key}' in the metadata. This server reads {', '.join(KEYS)}.")
    tuning = values.get(TUNING, "lora")
    if tuning not in ("lora", "full"):
        raise ValueError(f"The metadata '{TUNING}' must be 'lora' or 'full', but it is '{tuning}'.")
    options = JobOptions(
        rank=_parse_int(values, RANK, MAX_RANK),
        alpha=_parse_int(values, ALPHA, MAX_ALPHA),
        targets=_parse_targets(values.get(TARGETS)),
        tuning="full" if tuning == "full" else "lora",
        validate_at=_parse_fractions(values.get(VALIDATE_AT)),
        early_stopping=_parse_int(values, EARLY_STOPPING, MAX_PATIENCE),
    )
    if PRIORITY in values and _priority(values[PRIORITY]) is None:
        allowed = f"a number from {-MAX_PRIORITY} to {MAX_PRIORITY}"
        raise ValueError(f"The metadata '{PRIORITY}' must be {allowed}, but it is '{values[PRIORITY]}'.")
    if options.tuning == "full" and options.adapter_keys:
        keys = ", ".join(f"'{key}'" for key in options.adapter_keys)
        raise ValueError(f"Full fine-tuning has no adapter: remove {keys} from the metadata, or remove '{TUNING}'.")
    return options


def priority(metadata: Mapping[str, str] | None) -> int:
    """The priority of a job in the queue: higher ones start first. 0 unless set in the metadata."""
    return _priority((metadata or {}).get(PRIORITY, "")) or 0


def _priority(value: str) -> int | None:
    """None for text that is no priority."""
    if not re.fullmatch(r"-?\d{1,2}", value, re.ASCII) or abs(int(value)) > MAX_PRIORITY:
        return None
    return int(value)


def step_at(fraction: float, total_steps: int) -> int:
    """The step at a fraction of the total steps."""
    return max(1, round(fraction * total_steps))


def _parse_fractions(value: str | None) -> tuple[float, ...]:
    try:
        fractions = tuple(float(part) for part in value.split(",")) if value is not None else ()
    except ValueError:
        fractions = (0.0,)
    if not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(f"The metadata '{VALIDATE_AT}' must be shares such as 0.25,0.5, but it is '{value}'.")
    return fractions


def _parse_int(values: Mapping[str, str], key: str, maximum: int) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= maximum):
        raise ValueError(f"The metadata '{key}' must be a number from 1 to {maximum}, but it is '{value}'.")
    return int(value)


def _parse_targets(value: str | None) -> str | None:
    """Unique names in order, without spaces."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    if not all(name.replace("_", "").isalnum() for name in names):
        raise ValueError(
            f"The metadata '{TARGETS}' must be all-linear, attention, mlp, or names of layers with commas between, "
            f"but it is '{value}'."
        )
    return ",".join(dict.fromkeys(names))
