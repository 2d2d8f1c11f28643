"""What a job's events and result file say, in OpenAI's words. Pure functions."""

import base64
import csv
import io
from collections.abc import Sequence
from typing import Any

from luthier.store import Event


def metrics_event(step: int, total_steps: int, metrics: dict[str, float]) -> Event:
    """`Step 60/200: training loss=0.73, validation loss=1.46, full validation loss=1.12`."""
    losses = [("train_loss", "training loss"), ("valid_loss", "validation loss")]
    losses.append(("full_valid_loss", "full validation loss"))
    said = ", ".join(f"{name}={metrics[key]:.2f}" for key, name in losses if key in metrics)
    data = {"step": step, "total_steps": total_steps, **metrics}
    return Event(f"Step {step}/{total_steps}: {said}", type="metrics", data=data, step=step)


def result_file(metrics: Sequence[dict[str, Any]]) -> bytes:
    """The result file of a chat model: a CSV, in base64 as OpenAI serves it; numbers to five places."""
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
    return base64.b64encode(out.getvalue().encode())
