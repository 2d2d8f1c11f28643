"""A worker that is stopped for a minute, longer than its lease lasts, while it trains: another takes the job over."""

import os
import signal
import time
from pathlib import Path

from crash.checker import Checker, Findings
from crash.clients import RepeatingClient, Tally
from crash.ledger import Ledger
from crash.lives import Lives
from crash.run import await_orphans, prepare, reference, webhook_receiver

_STANDSTILL_S = 60
_EPOCHS = 40  # more events than a pipe holds, so that the trainer stands still too
_AFTER_STEP = 50


def run(folder: Path, base: Path, store: str | None) -> Findings:
    """`store`: the URL of an empty database; None: SQLite."""
    ledger, lives = Ledger(folder / "ledger.jsonl"), Lives(folder, base, store)
    client = RepeatingClient(lives.url, Tally())
    with lives.zygote(), webhook_receiver(ledger) as hook:
        lives.start(fresh=False, worker=False)
        lives.await_ready()
        first = lives.spawn(["worker"])
        data = prepare(client, hook, _EPOCHS)
        checker = Checker(client, ledger, reference(data, client))
        job = data.create(client, "standstill")
        ledger.record("job", id=job["id"], name="standstill")
        _await_step(client, job["id"])
        os.kill(first.pid, signal.SIGSTOP)
        second = lives.spawn(["worker"])
        time.sleep(_STANDSTILL_S)
        os.kill(first.pid, signal.SIGCONT)
        checker.await_ends(within_s=600)
        findings = checker.check()
        for life in (first, second):
            life.kill()
        lives.kill_server()
        await_orphans(lives)
    return findings


def _await_step(client: RepeatingClient, job_id: str) -> None:
    while True:
        events = client.get(f"/fine_tuning/jobs/{job_id}/events", limit=1)["data"]
        if events and (events[0]["data"] or {}).get("step", 0) >= _AFTER_STEP:
            return
        time.sleep(0.1)
