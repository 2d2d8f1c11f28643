"""The job folder: the specification of a job as one JSON file beside its data.

job.json          the fields of `JobSpec`
train.jsonl       checked examples
valid.jsonl       the same, if there is a validation file
events.jsonl      written by the trainer: its events, see `luthier.training.protocol`
state/            written by the trainer: the resume state, as `state-N.safetensors` of the job's Nth claim
checkpoints/      written by the trainer: a complete model folder per epoch, `step-N`: an adapter's, or with full
                  fine-tuning a model's; `best` has the lowest validation loss so far
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from luthier.types.durable_text import write_durably

TRAIN, VALID = "train.jsonl", "valid.jsonl"


@dataclass(frozen=True)
class JobSpec:
    """`base` and `parent` are folders (a base model; the adapter to continue from). `threads` 0: PyTorch chooses.

    `processes`: on this machine, which share the threads; see `luthier.training.ranks`. `shard_base`: over all
    processes, see `luthier.training.sharding`. `lora_targets`: see `luthier.weights`. `definitions`: tool-definition
    dropout, see `luthier.data.rendering.tool_dropout`. `result_turns`: the share of
    `luthier.data.rendering.result_turns`. `validate_at` (fractions of all steps) and `early_stopping` (validations):
    see `luthier.types.job_options`. `cache`: the folder for compiled kernels; None: the user's cache folder.
    `code_version` and `data_sha256` (of each data file, by its name here) document the origin of the model; earlier
    releases wrote neither. `fencing_token`: the number of this run's claim; the resume state is named after it.
    """

    base: str
    base_name: str
    seed: int
    method: Literal["supervised", "dpo"] = "supervised"
    tuning: Literal["lora", "full"] = "lora"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    processes: int = 1
    shard_base: bool = False
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_targets: str = "all-linear"
    definitions: str = "40,20,40"
    result_turns: float = 0.15
    validate_at: tuple[float, ...] = ()
    early_stopping: int | None = None
    cache: str | None = None
    code_version: str = ""
    data_sha256: dict[str, str] = field(default_factory=dict)
    fencing_token: int = 0

    def write(self, folder: Path) -> None:
        write_durably(folder / "job.json", json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "JobSpec":
        return cls(**json.loads((folder / "job.json").read_text(encoding="utf-8")))
