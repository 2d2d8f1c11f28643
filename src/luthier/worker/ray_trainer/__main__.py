"""`python -m luthier.worker.ray_trainer CPUS GPUS MEMORY JOBDIR`: the driver of one trainer on a Ray cluster.

`RAY_ADDRESS` names the cluster; without it, this machine is one of its nodes. Events go to standard output as those of
`python -m luthier.training` do; the last line is the trainer's exit code. SIGTERM and the end of standard input stop
the trainer with its state saved. None of Ray's own retries is used: the job's row is the only queue.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from filelock import FileLock

from luthier.training import protocol
from luthier.worker.ray_trainer.launcher import TrainerResources, exit_line
from luthier.worker.ray_trainer.mirror import Mirror
from luthier.worker.ray_trainer.node import NodeTrainer

_NAMESPACE = "luthier"
_REPORT_AFTER_S = 5.0  # of waiting for free resources on the cluster
_POLL_S = 0.3
_REASON_CHARACTERS = 300


class Driver:
    """Starts the actor and runs the trainer on it. `events`: where its lines go."""

    def __init__(self, folder: Path, resources: TrainerResources, events: IO[bytes]) -> None:
        self._folder, self._resources, self._events = folder, resources, events
        self._stop = threading.Event()

    def run(self) -> None:
        self._obey_signals()
        threading.Thread(target=self._await_parent, daemon=True).start()
        try:
            with FileLock(self._folder / "trainer.lock"):  # as a local trainer holds it
                code = self._train()
        except Exception as error:
            traceback.print_exc()
            code = protocol.MACHINE_FAULT
            self._emit_event(protocol.NodeLost(reason=_reason(error)))
        self._emit(exit_line(code).encode())

    def _train(self) -> int:
        """Run the trainer and return its exit code. Raises an error of Ray if its node or the cluster is lost."""
        import ray

        address = os.environ.get("RAY_ADDRESS") or "auto"
        ray.init(address, namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)
        self._obey_signals()  # Ray has set its own handler
        cpus, gpus, memory_bytes = self._resources
        options = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory_bytes, "scheduling_strategy": "SPREAD"}
        actor = ray.remote(NodeTrainer).options(**options, max_restarts=0, max_task_retries=0).remote()
        host = self._await_node(ray, actor.host.remote())
        if host is None:
            return protocol.STOPPED
        self._emit_event(protocol.NodeFound(name=host))
        node = cast(NodeTrainer, _Calls(lambda name, *values: ray.get(getattr(actor, name).remote(*values))))
        try:
            code = Mirror(self._folder, node, self._emit).run(self._stop)
            node.close()
        except (ray.exceptions.OutOfMemoryError, ray.exceptions.RayTaskError):  # of its memory, or a full disk
            traceback.print_exc()
            return protocol.MACHINE_FAULT
        return code

    def _await_node(self, ray: Any, host: Any) -> str | None:
        """Wait for a node and return its host name; None if a stop is requested before."""
        started, is_reported = time.monotonic(), False
        while not ray.wait([host], timeout=_POLL_S)[0]:
            if self._stop.is_set():
                return None
            if not is_reported and time.monotonic() - started > _REPORT_AFTER_S:
                is_reported = True
                self._emit_event(protocol.WaitingForNode(**self._resources._asdict()))
        return str(ray.get(host))

    def _obey_signals(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def _await_parent(self) -> None:
        sys.stdin.buffer.read()
        self._stop.set()

    def _emit_event(self, event: protocol.Event) -> None:
        self._emit(f"{event.to_json()}\n".encode())

    def _emit(self, line: bytes) -> None:
        try:
            self._events.write(line)
            self._events.flush()
        except BrokenPipeError:
            pass  # the worker has died; the job folder has the event


class _Calls:
    """Calls any method of an actor, and waits for its result."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *values: self._call(name, *values)


def _reason(error: Exception) -> str:
    """The error's type and first line, since Ray's errors have many lines."""
    first, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {first}"[:_REASON_CHARACTERS]


def main() -> None:
    *numbers, folder = sys.argv[1:]
    # Ray prints to standard output: keep the real one for events, and send the rest to the trainer's log.
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Driver(Path(folder), TrainerResources(*map(int, numbers)), events).run()


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # the thread that reads standard input would delay a normal exit
