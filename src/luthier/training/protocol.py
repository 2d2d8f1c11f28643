"""Messages between a trainer and the worker that started it: JSON objects, one per line.

The trainer writes events to standard output and to `events.jsonl` in the job folder; the worker writes commands to the
trainer's standard input. Events carry codes, names and numbers; the worker renders the sentences for users
(`luthier.worker.job_messages`). The only texts are error messages.

Version 2. Trainers of version 1 wrote no `started` event, and sentences where later versions have codes. `metrics` and
`checkpoint` are read as version 1 wrote them, so the events of a job that an earlier release began can be
replayed (`replayable`).
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from luthier.arch.row_mixing import RowReason
from luthier.types.storage_faults import FaultKind

VERSION = 2
# Exit codes of a trainer, beside 0 and 1.
MACHINE_FAULT = 74  # EX_IOERR: a fault of the machine, which may be transient
STOPPED = 75  # EX_TEMPFAIL: it stopped on request, and its resume state is saved


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)

    def to_json(self) -> str:
        """One line without its end. Numbers that are not finite become NaN and Infinity, as `json` writes them."""
        return json.dumps(self.model_dump(), ensure_ascii=False)


class Started(_Message):
    """First event of every run of a trainer."""

    type: Literal["started"] = "started"
    protocol: int = VERSION


class Resolved(_Message):
    """Hyperparameters as numbers. `auto`: the names of those that were resolved here; `learning_rate`: the peak.

    `tokens`: of the first epoch. `truncated`: examples that exceed the base model's context.
    """

    type: Literal["resolved"] = "resolved"
    hyperparameters: dict[str, int | float]
    auto: list[str]
    learning_rate: float
    total_steps: int
    examples: int
    tokens: int
    truncated: int


class ToolDropout(_Message):
    """Fractions of the epochs in which definitions are shown in full, slim and not at all; examples that were added."""

    type: Literal["tool_dropout"] = "tool_dropout"
    full: float
    slim: float
    none: float
    added_examples: int


class PromptCompletions(_Message):
    """The training file has prompts and completions, which are trained as a user's message and its answer."""

    type: Literal["prompt_completions"] = "prompt_completions"


class ResultTurns(_Message):
    """`examples` that end with a call in the file go on with a result and an answer in words."""

    type: Literal["result_turns"] = "result_turns"
    examples: int


class Hardware(_Message):
    """`name`: the GPU's, or CPU. `dtype`: of the base weights and of matrix products. `threads`: of PyTorch.

    `processes`: that train together; name and threads are those of one.
    """

    type: Literal["hardware"] = "hardware"
    name: str
    dtype: str
    threads: int
    processes: int = 1

    def label(self) -> str:
        label = f"{self.name}, {self.dtype}, {self.threads} threads"
        return label if self.processes == 1 else f"{label} in each of {self.processes} processes"


class TrainableParameters(_Message):
    """`rank` and `alpha` are None with full fine-tuning; `layers`: names of the linear layers that have LoRA."""

    type: Literal["trainable_parameters"] = "trainable_parameters"
    count: int
    rank: int | None = None
    alpha: int | float | None = None
    layers: list[str] = []


class ShardedBase(_Message):
    """The base's layers are sharded over `processes`: this one holds `local` of the base's `weights`."""

    type: Literal["sharded_base"] = "sharded_base"
    processes: int
    local: int
    weights: int


class SeparateRows(_Message):
    """Examples are neither packed nor share prefixes, because of a feature of the base model."""

    type: Literal["separate_rows"] = "separate_rows"
    reason: RowReason


class OwnTemplate(_Message):
    """Luthier's own template replaces that of the base model, which loses something.

    `functions`: that is a definition, a call or a result; otherwise messages themselves.
    """

    type: Literal["own_template"] = "own_template"
    functions: bool


class CompilerMissing(_Message):
    """No C++ compiler with OpenMP works here: kernels run on PyTorch instead."""

    type: Literal["compiler_missing"] = "compiler_missing"


class GradientCheckpointing(_Message):
    """Activations of the longest example would not fit into memory, so each layer recomputes its own."""

    type: Literal["gradient_checkpointing"] = "gradient_checkpointing"
    longest_tokens: int


class Resumed(_Message):
    """The resume state was restored; `step` is the last one in it."""

    type: Literal["resumed"] = "resumed"
    step: int


class ResumeStateUnreadable(_Message):
    """The resume state is damaged; training starts over. `error`: the reader's own message."""

    type: Literal["resume_state_unreadable"] = "resume_state_unreadable"
    error: str


class EarlyStopped(_Message):
    """Training ended at `step`: `patience` validations in a row had no lower full validation loss than `best_step`."""

    type: Literal["early_stopped"] = "early_stopped"
    step: int
    total_steps: int
    patience: int
    best_step: int


class BestEpoch(_Message):
    """The fine-tuned model is that of an earlier step, whose full validation loss was lower than that of the last
    step."""

    type: Literal["best_epoch"] = "best_epoch"
    step: int
    full_valid_loss: float
    last_full_valid_loss: float


class Metrics(_Message):
    """Of one optimizer step. Version 1 had neither `tokens` nor `gpu_bytes`.

    `tokens`: tokens that this run trained for the step; 0 if an earlier run trained it and this one only validated.
    `gpu_bytes`: GPU memory of the first process; None without a GPU.
    """

    type: Literal["metrics"] = "metrics"
    step: int
    total_steps: int
    metrics: dict[str, int | float]
    tokens: int = 0
    gpu_bytes: int | None = None


class Checkpoint(_Message):
    """A complete model folder, `checkpoints/FOLDER` in the job folder.

    `final`: it becomes the fine-tuned model. Earlier trainers did not mark that of the last step.
    """

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    folder: str
    metrics: dict[str, int | float]
    final: bool = False


class Finished(_Message):
    type: Literal["finished"] = "finished"
    trained_tokens: int


class WaitingForNode(_Message):
    """No node of the Ray cluster has had enough free resources for the trainer so far."""

    type: Literal["waiting_for_node"] = "waiting_for_node"
    cpus: int
    gpus: int
    memory_bytes: int


class NodeFound(_Message):
    """The trainer starts on a node of the Ray cluster; `name` is the host's."""

    type: Literal["node_found"] = "node_found"
    name: str


class NodeLost(_Message):
    """The node of the trainer, or the whole Ray cluster, cannot be reached; `reason` is Ray's own."""

    type: Literal["node_lost"] = "node_lost"
    reason: str


class DiskFault(_Message):
    """The disk could not be written; the same command may succeed later. `message`: the system's message."""

    type: Literal["disk_fault"] = "disk_fault"
    kind: FaultKind
    message: str


class Failed(_Message):
    """The fields of a `JobError`; the message is that of the error."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    param: str | None


Event = (
    Started
    | Resolved
    | ToolDropout
    | PromptCompletions
    | ResultTurns
    | Hardware
    | TrainableParameters
    | ShardedBase
    | SeparateRows
    | OwnTemplate
    | CompilerMissing
    | GradientCheckpointing
    | Resumed
    | ResumeStateUnreadable
    | EarlyStopped
    | BestEpoch
    | Metrics
    | Checkpoint
    | Finished
    | WaitingForNode
    | NodeFound
    | NodeLost
    | DiskFault
    | Failed
)
Emit = Callable[[Event], None]

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def parse_event(fields: Mapping[str, Any]) -> Event:
    """Parse an event. Raises ValueError if it is not an event of this version."""
    return _EVENT.validate_python(fields)


def replayable(fields: Mapping[str, Any]) -> Metrics | Checkpoint | None:
    """An event of any version, if it is one that a worker replays from `events.jsonl`; else None."""
    match fields.get("type"):
        case "metrics":
            return Metrics.model_validate(fields)
        case "checkpoint":
            return Checkpoint.model_validate(fields)
    return None


class Stop(_Message):
    """Command: save the resume state after the current optimizer step and exit with code 75."""

    type: Literal["stop"] = "stop"


def parse_command(line: bytes) -> Stop | None:
    """Parse a command; None for a line that is not a command of this version, which is ignored."""
    try:
        return Stop.model_validate_json(line)
    except ValidationError:
        return None
