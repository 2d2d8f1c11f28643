"""What the dashboard costs with 1,000 jobs, one of 100,000 steps, and 20 viewers.

    python benchmarks/dashboard.py              pages in Chromium, and CPU time of the server for each viewer
    python benchmarks/dashboard.py --no-browser  requests alone

Prints one JSON document. A viewer sends what the open page sends: the list every 3 s, or what is new of a job every
2 s, while the job takes a step a second.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import create_engine, func, insert, select, update

from luthier.runtime import LuthierServer
from luthier.settings import Settings
from luthier.store import Store
from luthier.store.database import events, jobs
from luthier.types.common import now

JOBS, STEPS = 1_000, 100_000
_INSERTED_AT_ONCE = 10_000


def fill(data: Path) -> str:
    """A data folder with finished jobs and one that runs; its id."""
    store = Store(data)
    source = store.files.folder / "upload"
    source.write_bytes(b'{"messages": []}\n')
    file = store.files.create("train.jsonl", "fine-tune", source)
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
    job_id = ""
    for number in range(JOBS):
        job_id = store.jobs.create(
            model="gpt-4o-mini-2024-07-18", base="base", parent=None, training_file=file.id, validation_file=None,
            suffix=f"job-{number}", seed=1, method=method, integrations=[], metadata={"team": f"team-{number % 7}"},
        ).id  # fmt: skip
    store.close()
    engine = create_engine(f"sqlite:///{data / 'luthier.db'}")
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id != job_id).values(status="succeeded", finished_at=now()))
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(status="running"))
    for first in range(1, STEPS + 1, _INSERTED_AT_ONCE):
        rows = [_metrics(job_id, step) for step in range(first, first + _INSERTED_AT_ONCE)]
        with engine.begin() as connection:
            connection.execute(insert(events), rows)
    engine.dispose()
    return job_id


def _metrics(job_id: str, step: int) -> dict[str, object]:
    data = {"step": step, "total_steps": 2 * STEPS, "train_loss": 2 + (step * 37 % 101) / 101 - step / STEPS,
            "train_mean_token_accuracy": step / STEPS}  # fmt: skip
    if step % 100 == 0:
        data |= {"valid_loss": 2 - step / STEPS, "valid_mean_token_accuracy": step / STEPS}
    return {
        "id": f"ftevent-{step:024}", "job_id": job_id, "created_at": now(), "level": "info", "type": "metrics",
        "message": f"Step {step}", "data": data, "step": step, "key": None,
    }  # fmt: skip


def viewer(root: str, job_id: str | None, seconds: float, loaded: threading.Barrier) -> None:
    """Loads a page, of the list or of a job, and once all have sends the requests of an open one for `seconds`."""
    with httpx.Client(base_url=f"{root}/v1", timeout=60, trust_env=False) as http:
        period = 2.0 if job_id else 3.0
        query = _next_updates(http, job_id, {"points": 1200}) if job_id else {}
        loaded.wait()
        start = time.monotonic()
        next_request = start + period * random.random()  # people open pages at any moment
        while next_request < start + seconds:
            time.sleep(max(0.0, next_request - time.monotonic()))
            if job_id:
                query = _next_updates(http, job_id, query)
            else:
                http.get("/luthier/jobs?limit=50").raise_for_status()
            next_request += period


def _next_updates(http: httpx.Client, job_id: str, query: dict[str, int | str]) -> dict[str, int | str]:
    """Reads what is new of the job; the query for what is new after that."""
    updates = http.get(f"/luthier/jobs/{job_id}/updates", params=query).raise_for_status().json()
    steps = [series["step"][-1] for series in updates["series"].values()]
    messages = [event["id"] for event in updates["events"]]
    return query | ({"after": max(steps)} if steps else {}) | ({"after_event": messages[-1]} if messages else {})


def train(database: Path, job_id: str, stop: threading.Event) -> None:
    """A step a second, as a worker of another process records it."""
    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 60})
    with engine.begin() as connection:
        step = connection.scalar(select(func.max(events.c.step)).where(events.c.job_id == job_id)) or 0
    while not stop.wait(1):
        step += 1
        with engine.begin() as connection:
            connection.execute(insert(events), [_metrics(job_id, step)])
    engine.dispose()


def view(root: str, job_id: str | None, database: Path, viewers: int, seconds: float) -> None:
    """That many viewers at once and a trainer, in a process of their own, whose CPU time does not count."""
    loaded = threading.Barrier(viewers, action=lambda: print("loaded", flush=True))
    threads = [threading.Thread(target=viewer, args=(root, job_id, seconds, loaded)) for _ in range(viewers)]
    stop = threading.Event()
    trainer = threading.Thread(target=train, args=(database, job_id, stop)) if job_id else None
    for thread in [*threads, *([trainer] if trainer else [])]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()


def share_per_viewer(root: str, job_id: str | None, database: Path, viewers: int, seconds: float) -> float:
    """The CPU time that this process, which holds the server, takes for one viewer, as a share of a core."""
    command = [sys.executable, __file__, "--view", root, job_id or "", str(database), "--viewers", str(viewers)]
    process = subprocess.Popen([*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # every viewer has loaded its page whole
    cpu, begun = time.process_time(), time.monotonic()
    process.wait()
    return (time.process_time() - cpu) / (time.monotonic() - begun) / viewers


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return round(time.perf_counter() - begun, 3)


def requests(root: str, job_id: str) -> dict[str, float]:
    """Seconds of the requests behind the pages, once warm."""
    paths = {
        "list": "/luthier/jobs?limit=50",
        "search": "/luthier/jobs?limit=50&search=job-77",
        "groups": "/luthier/jobs/groups?by=team",
        "curves": f"/luthier/jobs/{job_id}/metrics?points=1200",
        "zoom": f"/luthier/jobs/{job_id}/metrics?points=1200&after=50000&until=51200",
        "whole": f"/luthier/jobs/{job_id}/updates?points=1200",
        "updates": f"/luthier/jobs/{job_id}/updates?points=1200&after={STEPS - 1}",
    }
    with httpx.Client(base_url=f"{root}/v1", timeout=60, trust_env=False) as http:
        http.get("/models")
        return {name: timed(lambda path=path: http.get(path).raise_for_status()) for name, path in paths.items()}


@contextmanager
def chromium() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--headless=new", "--no-sandbox"])
        yield browser.new_page()
        browser.close()


def pages(root: str, job_id: str) -> dict[str, float]:
    """Seconds from the request of the address to the content, and to every step of a part of the curve."""
    with chromium() as page:

        def first_page() -> None:
            page.goto(f"{root}/#/jobs")
            page.wait_for_selector("tbody tr")

        def chart() -> None:
            page.goto(f"{root}/#/job/{job_id}")
            page.wait_for_selector(".chart canvas")

        def zoom() -> None:
            with page.expect_response(lambda response: "until=" in response.url):
                page.get_by_label("From step").fill("50001")
                page.get_by_label("From step").press("Tab")
                page.get_by_label("to step", exact=True).fill("51200")
                page.get_by_label("to step", exact=True).press("Tab")

        return {"list_s": timed(first_page), "chart_s": timed(chart), "zoom_s": timed(zoom)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement of viewers")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--view", nargs=3, help=argparse.SUPPRESS)  # the process of the viewers
    options = parser.parse_args()
    if options.view:
        root, job_id, database = options.view
        view(root, job_id or None, Path(database), options.viewers, options.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        job_id = fill(Path(folder))
        with LuthierServer(Settings(host="127.0.0.1", port=0, data=Path(folder), worker=False)) as server:
            root, database = server.endpoint.base_url.removesuffix("/v1"), Path(folder) / "luthier.db"
            result = {
                "jobs": JOBS, "steps": STEPS, "viewers": options.viewers, "load": os.getloadavg()[0],
                "requests_s": requests(root, job_id),
                "pages": None if options.no_browser else pages(root, job_id),
                "core_per_viewer": {
                    name: round(share_per_viewer(root, of, database, options.viewers, options.seconds), 5)
                    for name, of in (("list", None), ("job", job_id))
                },
            }  # fmt: skip
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
