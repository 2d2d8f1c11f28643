"""A process that has imported what a server and a trainer need, and forks them: `-m crash.zygote ADDRESS TRAINERS`.

A fresh server spends seconds on imports, so most of the kills of a crash test would hit nothing else. The forks run
the same code: `luthier.cli.main`, and `luthier.training.__main__.main` for the trainers that a forked server starts.
It serves one request per connection to the socket ADDRESS: a JSON object and the three standard streams in, the pid
out, and the wait status once the fork has ended. A fork is killed when its connection closes; the zygote ends with its
standard input. While a trainer runs, a file named after its pid lies in the folder TRAINERS.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

PROXY = Path(__file__).with_name("trainer_proxy.py")


def main(address: Path, trainers: Path) -> None:
    _import_all(address)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        unfinished = address.with_suffix(".new")
        listener.bind(str(unfinished))
        listener.listen()
        unfinished.rename(address)  # who finds it can connect
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            with connection:
                message, descriptors, _, _ = socket.recv_fds(connection, 65536, 3)
                if os.fork() == 0:
                    listener.close()
                    _supervise(connection, json.loads(message), descriptors, trainers)
            for descriptor in descriptors:
                os.close(descriptor)


def _import_all(address: Path) -> None:
    import transformers

    import luthier.cli
    import luthier.inference.engines.native.runner
    import luthier.inference.engines.torch.runner
    import luthier.runtime
    import luthier.training.setup
    from luthier.worker import training_run
    from luthier.worker.trainer_process import LocalTrainerProcess

    assert transformers.LlamaForCausalLM
    assert luthier.runtime

    class ForkedTrainer(LocalTrainerProcess):
        """A stand-in for the trainer, which the zygote forks; streams, signals and exit code are the trainer's."""

        def start(self) -> None:
            command = [sys.executable, "-I", "-S", str(PROXY), str(address), str(self._folder)]
            with (self._folder / "trainer.log").open("ab") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
                )

    training_run.LocalTrainerProcess = ForkedTrainer  # type: ignore[misc]


def _supervise(connection: socket.socket, request: dict[str, Any], descriptors: list[int], trainers: Path) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        connection.close()
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _run(request)
    for descriptor in descriptors:
        os.close(descriptor)
    marker = trainers / str(pid)
    if "folder" in request:
        marker.touch()
    connection.send(str(pid).encode())
    ready, _, _ = select.select([os.pidfd_open(pid), connection], [], [])
    if connection in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    marker.unlink(missing_ok=True)
    try:
        connection.send(str(status).encode())
    finally:
        os._exit(0)


def _run(request: dict[str, Any]) -> NoReturn:
    """`folder`: trains the job in it; otherwise `arguments` are those of the command line."""
    code = 1
    try:
        if "folder" in request:
            from luthier.training.__main__ import main as train

            sys.argv = ["luthier.training", "--stop-with-parent", request["folder"]]
            code = train()
        else:
            from luthier.cli import main as run_command

            sys.argv = ["luthier", *request["arguments"]]
            run_command()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
