"""Claims per second of the job queue, with 1, 4 and 16 worker processes.

    python benchmarks/claims.py                                  SQLite, in a temporary folder
    python benchmarks/claims.py --store postgresql://HOST/NAME   an empty PostgreSQL database

Each worker claims a job, records one event on it and gives it up as cancelled, until no job is left: the three writes
that a job costs the queue at least.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

from luthier.store import Event, Store

JOB: dict[str, Any] = {
    "model": "gpt-4o-mini-2024-07-18",
    "base": "tiny",
    "training_file": "file-1",
    "seed": 1,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {}}},
    "integrations": [],
}


def work(folder: str, url: str | None, start: Any, counts: Any) -> None:
    """A worker: puts the number of its claims into `counts`."""
    store, claims = Store(Path(folder), url=url), 0
    start.wait()
    while job := store.jobs.claim("worker/queued", "validating_files"):
        own_jobs = store.holding(job.fencing_token).jobs
        own_jobs.record(job.id, Event("Step 1", type="metrics", data={"step": 1, "train_loss": 1.0}, step=1))
        own_jobs.transition(job.id, ("validating_files",), "cancelled", Event("over"))
        claims += 1
    store.close()
    counts.put(claims)


def measure(folder: str, url: str | None, workers: int, jobs: int) -> float:
    """Claims per second."""
    store = Store(Path(folder), url=url)
    for _ in range(jobs):
        store.jobs.create(**JOB)
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(workers + 1), context.Queue()
    processes = [context.Process(target=work, args=(folder, url, start, counts)) for _ in range(workers)]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    claimed = [counts.get() for _ in processes]
    seconds = time.perf_counter() - began
    for process in processes:
        process.join()
    store.close()
    assert sum(claimed) == jobs, claimed
    return jobs / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="URL of an empty PostgreSQL database")
    parser.add_argument("--jobs", type=int, default=400, help="jobs of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 4, 16):
            print(f"{workers:3} workers: {measure(folder, options.store, workers, options.jobs):6.0f} claims a second")


if __name__ == "__main__":
    main()
