"""A crash test: clients work with a server that is killed again and again; then a checker looks at what is there."""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from crash.checker import Checker, Findings
from crash.clients import RepeatingClient, Tally, TrainingData, Workload
from crash.ledger import Ledger
from crash.lives import Lives
from postgres_server import PostgresServer

Victim = Literal["server", "server and trainer", "trainer", "database", "server and database"]
_VICTIMS: dict[Victim, int] = {"server": 50, "server and trainer": 30, "trainer": 20}
_VICTIMS_ON_POSTGRES: dict[Victim, int] = {**_VICTIMS, "database": 30, "server and database": 15}
_LONGEST_OUTAGE_S = 3.0
_DURING_STARTUP = 0.15  # share of the kills of a server
_SHORTEST_UPTIME = 0.2  # share of what was drawn
_STARVED_S = 60.0  # after which a client is answered before the next kill
_SETTLE_S = 600


@dataclass(frozen=True)
class Plan:
    """`fresh` of the `kills` hit a freshly started server or its trainer; the rest a forked one. `pause_s`: between a
    client's requests; `max_uptime_s`: until a kill, less where the `minutes` would be too few, after which no kill
    follows; `epochs`: of each job. `on_postgres`: the database is killed, too. All that is drawn follows from `seed`;
    how the threads of clients and server interleave does not.
    """

    seed: int
    kills: int
    fresh: int
    clients: int = 2
    pause_s: float = 0.1
    max_uptime_s: float = 4.0
    epochs: int = 4
    minutes: float = 18.0
    on_postgres: bool = False


@dataclass(frozen=True)
class Kill:
    """`after_s`: since the server answered, or since its start where `during_startup`. `outage_s`: of the database."""

    victim: Victim
    fresh: bool
    during_startup: bool
    after_s: float
    outage_s: float

    @classmethod
    def draw(cls, plan: Plan) -> "list[Kill]":
        chance = random.Random(plan.seed)
        fresh = set(chance.sample(range(plan.kills), plan.fresh))
        kills, victims = [], _VICTIMS_ON_POSTGRES if plan.on_postgres else _VICTIMS
        for number in range(plan.kills):
            (victim,) = chance.choices(list(victims), list(victims.values()))
            during_startup = victim.startswith("server") and chance.random() < _DURING_STARTUP
            latest = (4.0 if number in fresh else 1.0) if during_startup else plan.max_uptime_s
            outage_s = chance.uniform(0, _LONGEST_OUTAGE_S) if "database" in victim else 0.0
            kills.append(cls(victim, number in fresh, during_startup, chance.uniform(0, latest), outage_s))
        return kills


@dataclass
class Outcome:
    plan: Plan
    findings: Findings = field(default_factory=Findings)
    tally: Tally = field(default_factory=Tally)
    kills: Counter[str] = field(default_factory=Counter)
    startup_s: dict[str, list[float]] = field(default_factory=dict)
    uptime_shares: list[float] = field(default_factory=list)
    tracebacks: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return not (self.findings.lost or self.findings.duplicated or self.tally.faults)

    def report(self) -> str:
        findings, kills = self.findings, self.kills
        lines = [
            f"seed {self.plan.seed}: {kills['fresh'] + kills['forked']} kills of a server ({kills['fresh']} fresh, "
            f"{kills['forked']} forked; {kills['starting']} while it started), {kills['trainers']} of a trainer; "
            f"{kills['databases']} of the database; {self.tally.cut} requests cut, {self.tally.refused} refused for "
            f"want of the database; {self.seconds / 60:.1f} minutes",
            f"{len(self.uptime_shares)} of {self.plan.kills} kills that were drawn, after "
            f"{100 * fmean(self.uptime_shares or [1]):.0f} % of the uptime that was drawn, {kills['held back']} of "
            f"them held back for a client that had waited for {_STARVED_S:.0f} s",
            f"{'':22} acknowledged    found",
            *(f"{kind:22} {count:12} {findings.present[kind]:8}" for kind, count in findings.acknowledged.items()),
            f"{'all':22} {findings.acknowledged.total():12} {findings.present.total():8}",
            f"lost {len(findings.lost)}, duplicated {len(findings.duplicated)}, status 5xx {len(self.tally.faults)}, "
            f"tracebacks in the log {self.tracebacks}",
        ]
        for kind, seconds in self.startup_s.items():
            if seconds:
                lines.append(
                    f"ready after a kill, {kind}: median {median(seconds):.1f} s, longest {max(seconds):.1f} s"
                )
        output = [*findings.lost, *findings.duplicated, *self.tally.faults]
        return "\n".join([*lines, *(f"  {line}" for line in output[:40])])


def run(plan: Plan, folder: Path, base: Path, postgres: PostgresServer | None = None) -> Outcome:
    """`folder` is empty; it keeps data, ledger and the server's log. `postgres`: it has the database, and is killed."""
    plan = replace(plan, on_postgres=postgres is not None)
    store = postgres.new_database() if postgres else None
    outcome, ledger, lives = Outcome(plan), Ledger(folder / "ledger.jsonl"), Lives(folder, base, store)
    outcome.startup_s = lives.startup_s
    start = time.monotonic()
    with lives.zygote(), webhook_receiver(ledger) as hook:
        lives.start(fresh=False)
        lives.await_ready()
        client = RepeatingClient(lives.url, outcome.tally)
        data = prepare(client, hook, plan.epochs)
        checker = Checker(client, ledger, reference(data, client))
        stop = threading.Event()
        threads = start_clients(plan, lives.url, outcome.tally, ledger, data, stop)
        kills, end = Kill.draw(plan), start + 60 * plan.minutes
        for number, kill in enumerate(kills, 1):
            if time.monotonic() > end:
                break
            share = _share_of_uptime(kills[number - 1 :], lives, end - time.monotonic())
            outcome.uptime_shares.append(share)
            _carry_out(replace(kill, after_s=share * kill.after_s), lives, postgres, outcome)
            if number % 20 == 0:
                print(f"{number} kills, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        if lives.life is None:
            lives.start(fresh=True)
        lives.await_ready()
        outcome.findings = end_clients_and_check(stop, threads, checker, lives)
    outcome.tracebacks = lives.log.read_text(errors="replace").count("Traceback")
    outcome.seconds = time.monotonic() - start
    return outcome


def end_clients_and_check(
    stop: threading.Event, threads: Sequence[threading.Thread], checker: Checker, lives: Lives
) -> Findings:
    """What the checker finds once the clients have stopped and all jobs have ended; then kills the server."""
    stop.set()
    for thread in threads:
        thread.join()
    checker.await_ends(_SETTLE_S)
    findings = checker.check()
    lives.kill_server()
    await_orphans(lives)
    return findings


def _share_of_uptime(kills: list[Kill], lives: Lives, seconds: float) -> float:
    """The share of the drawn uptimes for which there is time, where `kills` are left and `seconds` until the end.

    A busy machine starts servers more slowly; its kills then follow sooner, so that there are as many.
    """
    startup_s = {fresh: lives.expected_startup_s(fresh=fresh) for fresh in (False, True)}
    starting = sum(startup_s[kill.fresh] for kill in kills if not kill.during_startup and kill.victim != "trainer")
    up = sum(kill.after_s for kill in kills)
    return min(1.0, max(_SHORTEST_UPTIME, (seconds - starting) / up)) if up else 1.0


def _carry_out(kill: Kill, lives: Lives, postgres: PostgresServer | None, outcome: Outcome) -> None:
    """Ends with the server that runs, or with none: the next kill needs one of its own kind."""
    if lives.life is not None and lives.life.is_fresh != kill.fresh:
        lives.kill_server()
        outcome.kills["forked" if kill.fresh else "fresh"] += 1
    started = lives.life is None
    if started:
        lives.start(fresh=kill.fresh)
    if kill.during_startup and started:
        outcome.kills["starting"] += 1
    else:
        lives.await_ready() if started else None
    time.sleep(kill.after_s)
    if outcome.tally.longest_wait_s() > _STARVED_S:
        outcome.kills["held back"] += 1
        _serve_starved_clients(outcome.tally)
    dead_postgres = postgres if "database" in kill.victim else None
    if dead_postgres:
        dead_postgres.stop(at_once=True)
        outcome.kills["databases"] += 1
    if kill.victim == "trainer":
        outcome.kills["trainers"] += lives.kill_trainers()
    elif kill.victim != "database":
        lives.kill_server(with_trainers=kill.victim == "server and trainer")
        outcome.kills["fresh" if kill.fresh else "forked"] += 1
    if dead_postgres:
        time.sleep(kill.outage_s)
        dead_postgres.start()


def _serve_starved_clients(tally: Tally) -> None:
    """On a very busy machine no life might last as long as an answer takes: this one does."""
    end = time.monotonic() + 2 * _STARVED_S
    while tally.longest_wait_s() > _STARVED_S and time.monotonic() < end:
        time.sleep(0.1)


def prepare(client: RepeatingClient, hook: str, epochs: int, examples: int = 40) -> TrainingData:
    events = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
    events += ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
    events += ["eval.run.succeeded", "eval.run.failed", "eval.run.canceled"]
    client.create("/webhook_endpoints", json={"name": "test", "url": hook, "event_types": events})
    ids = []
    for name, count in (("train.jsonl", examples), ("valid.jsonl", 6)):
        lines = [
            {
                "messages": [
                    {"role": "user", "content": f"number {number}"},
                    {"role": "assistant", "content": "odd" if number % 2 else "even"},
                ]
            }
            for number in range(count)
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines)
        created, _ = client.create("/files", files={"file": (name, content)}, data={"purpose": "fine-tune"})
        ids.append(created["id"])
    return TrainingData(ids[0], ids[1], epochs)


def reference(data: TrainingData, client: RepeatingClient) -> str:
    """The id of a job that runs to its end."""
    job = data.create(client, "reference")
    while job["status"] not in ("succeeded", "failed"):
        time.sleep(0.2)
        job = client.get(f"/fine_tuning/jobs/{job['id']}")
    assert job["status"] == "succeeded", job["error"]
    return str(job["id"])


def start_clients(
    plan: Plan, url: str, tally: Tally, ledger: Ledger, data: TrainingData, stop: threading.Event
) -> list[threading.Thread]:
    """One that trains, and `plan.clients` for the rest; they end with `stop`, each after its request."""

    def work(number: int) -> None:
        client, name = RepeatingClient(url, tally), f"{plan.seed}-{number}"
        with _as_fault(tally):
            Workload(client, ledger, name, data.validation_file).run(stop, plan.pause_s)

    def train() -> None:
        with _as_fault(tally):
            data.run_jobs(RepeatingClient(url, tally), ledger, f"{plan.seed}-job", stop)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(plan.clients)]
    threads.append(threading.Thread(target=train))
    for thread in threads:
        thread.start()
    return threads


@contextmanager
def _as_fault(tally: Tally) -> Iterator[None]:
    """A client that ends early fails the run."""
    try:
        yield
    except Exception as error:
        tally.faults.append(f"a client ended: {type(error).__name__}: {error}")


@contextmanager
def webhook_receiver(ledger: Ledger, host: str = "localhost") -> Iterator[str]:
    """Records what is delivered; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            content = self.rfile.read(length)
            if len(content) < length:  # the server was killed while it sent
                return
            body = json.loads(content)
            ledger.record("delivery", id=self.headers["webhook-id"], type=body["type"], subject=body["data"]["id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()


def await_orphans(lives: Lives) -> None:
    """A trainer whose server was killed ends by itself."""
    end = time.monotonic() + 60
    while lives.trainers():
        assert time.monotonic() < end, "a trainer outlives its server"
        time.sleep(0.1)
