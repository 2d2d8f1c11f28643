"""What the scripts of the cookbook share: arguments, upload, waiting for a job, intervals. Only the `openai` client.

The server is that of OPENAI_BASE_URL and OPENAI_API_KEY, as for every program that uses the client.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

FINAL = ("succeeded", "failed", "cancelled")
Question = TypeVar("Question")
Answer = TypeVar("Answer")


def parser(description: str) -> argparse.ArgumentParser:
    """Arguments that every script has. `--quick` is for tests: next to no data, one epoch, few questions."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a trial run: few examples, one epoch, few questions")
    parser.add_argument("--seed", type=int, default=1, help="of the data and of the job (default: 1)")
    return parser


def to_jsonl(examples: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples).encode()


def upload(client: OpenAI, examples: Iterable[dict[str, Any]], name: str) -> str:
    """Uploads the examples as a training file and returns its id."""
    file = client.files.create(file=(name, io.BytesIO(to_jsonl(examples))), purpose="fine-tune")
    print(f"{name}: {file.id}, {file.bytes:,} bytes, {file.status}", flush=True)
    return file.id


def wait(client: OpenAI, job: FineTuningJob, poll_s: float = 1.0) -> FineTuningJob:
    """Prints the job's events as they come, a metric every tenth step; exits when the job fails."""
    print(f"{job.id}: {job.model}, {job.status}", flush=True)
    printed: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job.id)
        for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=100).data):
            if event.id in printed:
                continue
            printed.add(event.id)
            metrics: Any = event.data if event.type == "metrics" else None
            if metrics is None or metrics["step"] % 10 in (0, 1):
                print(f"  {event.message}", flush=True)
        if job.status in FINAL:
            break
        time.sleep(poll_s)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        raise SystemExit(f"The job {job.status}: {job.error.message if job.error else 'no reason given'}")
    seconds = (job.finished_at or 0) - job.created_at
    print(
        f"{job.fine_tuned_model}: {job.trained_tokens:,} trained tokens, {seconds} s from creation to end", flush=True
    )
    return job


def ask_all(ask: Callable[[Question], Answer], questions: Sequence[Question], parallel: int = 8) -> list[Answer]:
    """Answers in the order of the questions; several requests at a time."""
    with ThreadPoolExecutor(parallel) as threads:
        return list(threads.map(ask, questions))


def rate(hits: int, n: int) -> str:
    """`hits/n percent [Wilson's 95 % interval]`."""
    if n == 0:
        return "0/0"
    z, share = 1.96, hits / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = max(0.0, center - half), min(1.0, center + half)
    return f"{hits}/{n} {share:.0%} [{low * 100:.0f}-{high * 100:.0f}]"
