"""The texts of a job's events and its result file. Pure functions.

English, and OpenAI's own wording where OpenAI has one; `docs/reference/events.md` lists them.
"""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from luthier.arch.row_mixing import ROW_REASONS
from luthier.data.rendering.parity_report import ParityReport
from luthier.native import NO_COMPILER
from luthier.store import Event
from luthier.training import protocol
from luthier.types.names import completes_text
from luthier.types.storage_faults import STORAGE_FAULTS, FaultKind

STARTED = Event("Fine-tuning job started", key="started")
COMPARING = Event("Saved; the serving engine is loading the model to compare it with the trainer", key="comparing")
SUCCEEDED = Event("The job has successfully completed")
DATABASE_BACK = Event("The database was unreachable for a while; the job resumes", level="warn")
STOPPED = Event("The server stopped; the job resumes from its last step when the server is back", level="warn")

_PROMPT_COMPLETIONS = (
    "Prompts and completions are trained inside the base model's chat template, as a user's message and its answer"
)


def open_weights(model: str, title: str) -> Event:
    return Event(f"{model} is served by open weights here: {title}", key="open weights")


def trainer_notice(event: protocol.Event) -> list[Event]:
    """The events for a trainer's findings and choices; empty for trainer events that are recorded differently.

    A resumed job finds and chooses the same, so each is recorded once; resuming is recorded once per step, and the node
    once per node.
    """
    key: str = event.type
    if isinstance(event, protocol.Resumed):
        key = f"{event.type} after {event.step}"
    elif isinstance(event, protocol.NodeFound):
        key = f"{event.type}: {event.name}"
    return [replace(notice, key=f"{key}/{number}") for number, notice in enumerate(_notices(event))]


def _notices(event: protocol.Event) -> list[Event]:
    match event:
        case protocol.Resolved():
            return _resolved(event)
        case protocol.ToolDropout():
            return [Event(_tool_dropout(event))]
        case protocol.PromptCompletions():
            return [Event(_PROMPT_COMPLETIONS)]
        case protocol.ResultTurns(examples=count):
            turns = "were extended by a result and an answer, since the file has no answers after results"
            return [Event(f"{count} examples that end with a call {turns}")]
        case protocol.Hardware():
            return [Event(f"Training on {event.label()}")]
        case protocol.TrainableParameters():
            return [Event(_trainable_parameters(event))]
        case protocol.ShardedBase(processes=processes, local=local, weights=weights):
            shards = f"The base model's layers are sharded over {processes} processes (FSDP2)"
            each = f"each process holds at most {local:,} of {weights:,} parameters"
            return [Event(f"{shards} and train through transformers' own code: {each}")]
        case protocol.SeparateRows(reason=reason):
            rows = "Examples are not packed, which is slower"
            return [Event(f"{rows}: the base model has {ROW_REASONS[reason][0]}")]
        case protocol.OwnTemplate(functions=functions):
            lost = "definitions, calls or results of functions" if functions else "messages"
            template = f"The base model's chat template loses {lost}"
            return [Event(f"{template}: Luthier's own form replaces it in training and serving")]
        case protocol.CompilerMissing():
            return [Event(f"{NO_COMPILER}: training takes up to twice as long as with one")]
        case protocol.GradientCheckpointing(longest_tokens=tokens):
            short = f"Memory is short for examples of {tokens} tokens"
            return [Event(f"{short}: gradient checkpointing is enabled")]
        case protocol.Resumed(step=step):
            return [Event(f"Training resumes after step {step}")]
        case protocol.ResumeStateUnreadable(error=error):
            return [Event(f"The saved state cannot be read ({error}); training starts over")]
        case protocol.NodeFound(name=name):
            return [Event(f"The trainer starts on the Ray node {name}")]
        case protocol.WaitingForNode():
            return [Event(_waiting_for_node(event))]
        case protocol.EarlyStopped(step=step, total_steps=total, patience=patience, best_step=best):
            validations = f"{patience} consecutive validation{'' if patience == 1 else 's'}"
            stalled = f"no lower loss than at step {best} in {validations}"
            return [Event(f"Early stopping after step {step} of {total}: {stalled}")]
        case protocol.BestEpoch(step=step, full_valid_loss=loss, last_full_valid_loss=last):
            lowest = "which had the lowest full validation loss"
            model = f"The fine-tuned model is taken from step {step}, {lowest}"
            return [Event(f"{model}: {loss:.4f}, against {last:.4f} after the last step")]
    return []


def _resolved(event: protocol.Resolved) -> list[Event]:
    message = f"Peak learning rate {event.learning_rate:.2e}"
    reasons = {
        "n_epochs": f" (OpenAI's rule for {event.examples} examples)",
        "batch_size": " (it grows with the square root of the examples)",
        "beta": " (the DPO paper's)",
    }
    choices = [f"{name}={event.hyperparameters[name]:g}{reasons.get(name, '')}" for name in event.auto]
    if choices:
        message += "; chosen for auto: " + ", ".join(choices)
    events = [Event(message)]
    if event.truncated:
        message = f"{event.truncated} examples are longer than the base model's context and were truncated"
        events.append(Event(message, level="warn"))
    return events


def _tool_dropout(event: protocol.ToolDropout) -> str:
    fractions = ", ".join(f"{100 * fraction:.0f} %" for fraction in (event.full, event.slim, event.none))
    message = f"Function definitions are shown in full, slim and not at all, in {fractions} of the epochs"
    if event.added_examples:
        message += f"; {event.added_examples} examples without a call were added, since the file has none"
    return message


def _trainable_parameters(event: protocol.TrainableParameters) -> str:
    if event.rank is None:
        return f"All {event.count:,} parameters are trained"
    shape = f"LoRA of rank {event.rank}, alpha {event.alpha}, on {', '.join(event.layers)}"
    return f"{event.count:,} parameters are trained: {shape}"


def _waiting_for_node(event: protocol.WaitingForNode) -> str:
    reservation = f"CPUs: {event.cpus}, GPUs: {event.gpus}, memory: {event.memory_bytes / 1024**3:.1f} GB"
    return f"Waiting for a node of the Ray cluster with room for the trainer ({reservation})"


def metrics_event(event: protocol.Metrics) -> Event:
    """`Step 60/200: training loss=0.73, validation loss=1.46, full validation loss=1.12`."""
    labels = [("train_loss", "training loss"), ("valid_loss", "validation loss")]
    labels.append(("full_valid_loss", "full validation loss"))
    losses = ", ".join(f"{label}={event.metrics[key]:.2f}" for key, label in labels if key in event.metrics)
    data = {"step": event.step, "total_steps": event.total_steps, **event.metrics}
    return Event(f"Step {event.step}/{event.total_steps}: {losses}", type="metrics", data=data, step=event.step)


def checkpoint_created(step: int, name: str) -> Event:
    return Event(f"Checkpoint created at step {step} with Snapshot ID: {name}")


def parity_checked(report: ParityReport) -> Event:
    return Event(
        f"Parity check passed: the serving engine reproduces the trained model ({report.summary()})", key="parity"
    )


SERVED_IN_EIGHT_BITS = Event("The base's weights are served in 8 bits; --serving-weights full serves them as they are")


def tracked(name: str, place: str) -> Event:
    return Event(f"Metrics go to {name}: {place}", key=f"tracked/{name}/{place}")


def tracker_failed(name: str, error: str) -> Event:
    return Event(f"The tracker {name} failed; the job continues without it: {error}", level="warn")


def parity_ended_worker(attempts: int) -> str:
    """The message of a failed job."""
    return (
        f"The server ended {attempts} times while its engine was compared with the trainer, which is not tried again. "
        "Its log may say why. Try another --engine, and report it."
    )


def kept_as_checkpoint(reason: str, name: str) -> str:
    """The message of a job that failed after its training."""
    return f"{reason} The trained model is kept as the checkpoint {name}."


def model_created(name: str) -> Event:
    return Event(f"New fine-tuned model created: {name}")


def trainer_killed(exit_description: str) -> Event:
    message = f"The trainer was terminated externally ({exit_description}); the job resumes from its last saved step"
    return Event(message, level="warn")


def node_lost(reason: str) -> Event:
    message = f"The trainer's node, or its Ray cluster, was lost ({reason}); the job resumes from its last saved step"
    return Event(message, level="warn")


def trainer_died(exit_description: str) -> Event:
    return Event(f"The trainer died ({exit_description}); the job resumes from its last saved step", level="warn")


def waits_for_storage(minutes: int, number: int, most: int, kind: FaultKind, cause: object) -> Event:
    """`number`: of this wait, of `most`."""
    unit = "minute" if minutes == 1 else "minutes"
    waits = f"The job waits for {minutes} {unit} before it is retried (wait {number} of {most})"
    return Event(f"{waits}: {STORAGE_FAULTS[kind].reason[0]} ({cause})", level="warn")


def storage_unavailable(waits: int, minutes: int, kind: FaultKind, cause: object) -> str:
    """The message of a job that failed after `waits` of `minutes` in all."""
    (reason, _), (remedy, _) = STORAGE_FAULTS[kind]
    return f"After {waits} waits of {minutes} minutes in all {reason} ({cause}). {remedy}, then create the job again."


def trainer_died_error(attempts: int, code: int, log: str) -> str:
    """The message of the failed job; `log` is the end of the trainer's."""
    hint = " Signal 9 means here that memory ran out." if code == -9 else ""
    return f"The trainer died {attempts} times ({exit_description(code)}).{hint} {log}"


def exit_description(code: int) -> str:
    """Describe an exit code, which is negative for a signal."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def result_file(metrics: Sequence[dict[str, Any]], model: str) -> bytes:
    """A CSV with numbers to five places; in base64 for chat models, as OpenAI serves it, and plain for others."""
    columns = {
        "step": "step",
        "train_loss": "train_loss",
        "train_accuracy": "train_mean_token_accuracy",
        "valid_loss": "valid_loss",
        "valid_mean_token_accuracy": "valid_mean_token_accuracy",
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in metrics:
        values = [row.get(key) for key in columns.values()]
        writer.writerow(["" if value is None else round(value, 5) for value in values])
    content = out.getvalue().encode()
    return content if completes_text(model) else base64.b64encode(content)
