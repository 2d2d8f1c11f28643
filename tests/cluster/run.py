"""Jobs of two projects on a cluster of which one part after another dies; then a checker looks at what is there."""

import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from cluster.machine import Machine, trained_steps
from cluster.network import HOST, Cable, cable
from crash.checker import Checker, Findings
from crash.clients import RepeatingClient, Tally, TrainingData, Workload
from crash.ledger import Ledger
from crash.run import prepare, reference, webhook_receiver
from postgres_server import PostgresServer
from s3_server import S3Server

PROJECTS = {"proj_red": "key-red", "proj_blue": "key-blue"}
_ADMIN = "key-admin"
_EXAMPLES, _EPOCHS = 160, 4  # two examples a step: long enough to be hit, with three checkpoints before the last
_OUTAGE_S, _PARTITION_S = 6, 45  # a lease lasts 30 seconds
_VICTIM_AFTER_STEPS = 20
_PATIENCE_S = 600
_RAY_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Plan:
    """`jobs` of each project. `pause_s`: between the requests of a project's client."""

    jobs: int = 10
    pause_s: float = 1.0
    settle_s: float = 600


@dataclass
class Outcome:
    findings: Findings = field(default_factory=Findings)
    tally: Tally = field(default_factory=Tally)
    faults: list[str] = field(default_factory=list)
    stale_writes: int = 0
    nodes_lost: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return not (self.findings.lost or self.findings.duplicated) and self.stale_writes > 0 and self.nodes_lost > 0

    def report(self) -> str:
        findings = self.findings
        rows = [
            f"{kind:30} {acknowledged:12} {findings.present[kind]:8}"
            for kind, acknowledged in findings.acknowledged.items()
        ]
        lines = [
            *self.faults,
            f"{'':30} acknowledged    found",
            *rows,
            f"{'all':30} {findings.acknowledged.total():12} {findings.present.total():8}",
            f"lost {len(findings.lost)}, duplicated {len(findings.duplicated)}; stale writes refused: "
            f"{self.stale_writes}; jobs that lost their node: {self.nodes_lost}; requests cut: {self.tally.cut}, "
            f"answered by {dict(self.tally.statuses)} and repeated; {self.seconds / 60:.1f} minutes",
            *(f"  {line}" for line in [*findings.lost, *findings.duplicated][:40]),
        ]
        return "\n".join(lines)


class RayNodes:
    """A Ray cluster on this machine: a head without CPUs, and nodes with room for one trainer each."""

    def __init__(self, nodes: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: sockets lie in there
        # Ray's workers would be 15 steps nicer than the rest, and starve on a machine that all nodes share.
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": self._folder, "RAY_worker_niceness": "0"}
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": _RAY_HOST}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []
        for _ in range(nodes):
            self.add()

    def add(self) -> None:
        node = self._cluster.add_node(num_cpus=1, memory=4 * 1024**3, node_ip_address=_RAY_HOST)
        self._nodes.append(node)

    def kill_one_that_trains(self) -> None:
        node = _victim(self._nodes, lambda node: node.all_processes["raylet"][0].process.pid, "a Ray node")
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


class ClusterUnderTest:
    """Two servers and three workers: two with trainers on Ray, and one behind a cable that trains by itself."""

    def __init__(self, folder: Path, base: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._numbers = folder, stack, count(1)
        self.cable: Cable = stack.enter_context(cable())
        self.postgres = stack.enter_context(PostgresServer(HOST))
        (folder / "s3").mkdir()
        self.s3 = S3Server(folder / "s3", HOST)
        self.s3.start()
        stack.callback(lambda: self.s3.kill())
        self.nodes = RayNodes(3)
        stack.callback(self.nodes.shutdown)
        keys = [_ADMIN, *(f"{project}={key}" for project, key in PROJECTS.items())]
        self._variables = {
            **self.s3.variables,
            "AWS_ALLOW_HTTP": "true",
            "LUTHIER_STORE": self.postgres.new_database(),
            "LUTHIER_BLOBS": "s3://bucket/prefix",
            "LUTHIER_API_KEYS": ",".join(keys),
            "LUTHIER_BASE": str(base),
            "LUTHIER_PRECISION": "float32",
            "LUTHIER_THREADS": "1",
            "LUTHIER_WEBHOOK_HOSTS": f"localhost,{HOST}/32",
            "LUTHIER_STORED_COMPLETIONS": "1000000",
            "RAY_ADDRESS": self.nodes.address,
            "OMP_NUM_THREADS": "1",
        }
        self.servers = [self._start("serve", "--port", "0", "--no-worker") for _ in range(2)]
        self.urls = [server.address() for server in self.servers]
        self._ray_workers = [self.start_ray_worker() for _ in range(2)]
        self.far_worker = self._start("worker", inside=self.cable.inside)

    def start_ray_worker(self) -> Machine:
        return self._start("worker", "--launcher", "ray")

    def kill_worker(self) -> None:
        """With its drivers and its disk; a new machine takes its place."""
        worker = _victim(self._ray_workers, lambda worker: worker.process.pid, "a worker")
        worker.kill()
        self._ray_workers.remove(worker)
        self._ray_workers.append(self.start_ray_worker())

    def kill_server(self) -> None:
        port = self.urls[0].rpartition(":")[2]
        self.servers[0].kill()
        time.sleep(_OUTAGE_S)
        self.servers[0] = self._start("serve", "--port", port, "--no-worker")

    def restart_database(self) -> None:
        self.postgres.stop()
        time.sleep(_OUTAGE_S)
        self.postgres.start()

    def restart_blobs(self) -> None:
        self.s3.kill()
        time.sleep(_OUTAGE_S)
        self.s3.start()

    def partition(self) -> None:
        """Until another worker has the job; the far one goes on training meanwhile."""
        _victim([self.far_worker], lambda worker: worker.process.pid, "the worker behind the cable")
        self.cable.cut()
        time.sleep(_PARTITION_S)
        self.cable.mend()

    def replace_node(self) -> None:
        self.nodes.kill_one_that_trains()
        self.nodes.add()

    def stale_writes(self) -> int:
        headers = {"authorization": f"Bearer {_ADMIN}"}
        metrics = httpx.get(f"{self.urls[1]}/metrics", headers=headers, timeout=60).text
        match = re.search(r"^luthier_stale_writes_total (\S+)", metrics, re.MULTILINE)
        assert match, metrics
        return round(float(match[1]))

    def _start(self, *command: str, inside: tuple[str, ...] = ()) -> Machine:
        folder = self._folder / f"{command[0]}-{next(self._numbers)}"
        machine = Machine(folder, self._variables, *command, inside=inside)
        self._stack.callback(machine.kill)
        return machine


@dataclass
class Project:
    """A project's client, what it was told, and its data."""

    name: str
    client: RepeatingClient
    ledger: Ledger
    data: TrainingData
    checker: Checker

    def create_jobs(self, jobs: int) -> None:
        for number in range(jobs):
            name = f"{self.name}-{number}"
            job = self.data.create(self.client, name)
            self.ledger.record("job", id=job["id"], name=name)

    def jobs(self) -> list[dict[str, Any]]:
        return list(self.client.pages("/fine_tuning/jobs"))

    def pause_and_resume(self) -> None:
        """A job that trains."""
        job_id = self._await_running()
        for action in ("pause", "resume"):
            self.client.create(f"/fine_tuning/jobs/{job_id}/{action}")
            time.sleep(2)

    def cancel(self) -> None:
        """A job that trains."""
        job_id = self._await_running()
        response, _ = self.client.send("POST", f"/fine_tuning/jobs/{job_id}/cancel")
        if response.status_code == 200:
            self.ledger.record("cancellation", id=job_id)

    def count_events(self, phrase: str) -> int:
        events = (event for job in self.jobs() for event in self.client.pages(f"/fine_tuning/jobs/{job['id']}/events"))
        return sum(phrase in event["message"] for event in events)

    def _await_running(self) -> str:
        end = time.monotonic() + _PATIENCE_S
        while not (running := [job["id"] for job in self.jobs() if job["status"] == "running"]):
            assert time.monotonic() < end, "no job trains"
            time.sleep(0.3)
        return str(running[0])


def run(plan: Plan, folder: Path, base: Path) -> Outcome:
    """`folder` is empty; it keeps data, ledgers and logs. Needs a network of its own (`enter_own_network`)."""
    outcome, start = Outcome(), time.monotonic()
    with ExitStack() as stack:
        cluster = ClusterUnderTest(folder, base, stack)
        projects = [_project(name, cluster, folder, outcome.tally, stack) for name in PROJECTS]
        _note(outcome, start, "started, with an undisturbed job of each project")
        stop = threading.Event()
        threads = [_work(project, cluster, outcome.tally, plan, stop) for project in projects]
        for project in projects:
            project.create_jobs(plan.jobs)
        for title, fault in _faults(cluster, *projects):
            fault()
            _note(outcome, start, title)
        stop.set()
        for thread in threads:
            thread.join()
        for project in projects:
            project.checker.await_ends(plan.settle_s)
            _add(outcome.findings, project.checker.check())
            outcome.nodes_lost += project.count_events("or its Ray cluster, was lost")
        outcome.stale_writes = cluster.stale_writes()
    outcome.seconds = time.monotonic() - start
    return outcome


def _faults(cluster: ClusterUnderTest, red: Project, blue: Project) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "a worker died with its machine", cluster.kill_worker
    yield "a Ray node died", cluster.replace_node
    yield "a server died, and started again", cluster.kill_server
    yield "a job was paused and resumed", red.pause_and_resume
    yield f"the database was away for {_OUTAGE_S} s", cluster.restart_database
    yield "a job was cancelled while it trained", blue.cancel
    yield f"the S3 server was away for {_OUTAGE_S} s", cluster.restart_blobs
    yield f"a worker was cut off for {_PARTITION_S} s", cluster.partition
    yield "another Ray node died", cluster.replace_node


def _project(name: str, cluster: ClusterUnderTest, folder: Path, tally: Tally, stack: ExitStack) -> Project:
    """With a job that ran undisturbed, whose losses all others must have."""
    ledger = Ledger(folder / f"{name}.jsonl")
    hook = stack.enter_context(webhook_receiver(ledger, HOST))
    client = RepeatingClient(cluster.urls, tally, PROJECTS[name])
    data = prepare(client, hook, _EPOCHS, _EXAMPLES)
    return Project(name, client, ledger, data, Checker(client, ledger, reference(data, client)))


def _work(
    project: Project, cluster: ClusterUnderTest, tally: Tally, plan: Plan, stop: threading.Event
) -> threading.Thread:
    """Uploads, chats, batches and more of a project, until `stop`."""
    client = RepeatingClient(cluster.urls[::-1], tally, PROJECTS[project.name])
    workload = Workload(client, project.ledger, f"{project.name}-work", project.data.validation_file)
    thread = threading.Thread(target=workload.run, args=(stop, plan.pause_s))
    thread.start()
    return thread


def _victim(candidates: list[Any], pid_of: Callable[[Any], int], noun: str) -> Any:
    """The first that is in the middle of a training run."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        for candidate in candidates:
            if max(trained_steps(pid_of(candidate)), default=0) >= _VICTIM_AFTER_STEPS:
                return candidate
        time.sleep(0.3)
    raise AssertionError(f"{noun} that trains did not come")


def _add(total: Findings, findings: Findings) -> None:
    total.acknowledged += findings.acknowledged
    total.present += findings.present
    total.lost += findings.lost
    total.duplicated += findings.duplicated


def _note(outcome: Outcome, start: float, title: str) -> None:
    outcome.faults.append(f"{time.monotonic() - start:5.0f} s  {title}")
    print(outcome.faults[-1], file=sys.stderr, flush=True)
