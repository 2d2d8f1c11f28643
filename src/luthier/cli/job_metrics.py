"""The metrics of a job, read from its events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.cli.output import to_json

if TYPE_CHECKING:
    import openai

_PAGE_SIZE = 100


def metrics_by_step(client: openai.OpenAI, job_id: str) -> dict[int, dict[str, float]]:
    """Step → metrics of the job, in the order of steps; empty for a job without steps."""
    from luthier.worker.trackers.tracker import numbers  # this import takes half a second, too long for `jobs list`

    events = [to_json(event) for event in client.fine_tuning.jobs.list_events(job_id, limit=_PAGE_SIZE)]
    metrics = {int(event["data"]["step"]): numbers(event["data"]) for event in events if event["type"] == "metrics"}
    return dict(sorted(metrics.items()))
