"""Starts the further processes of a job, and determines the place of this one. Does not use torch.

The environment variables are those of torchrun, which can start them too, on several machines:

    torchrun --nproc_per_node 4 -m luthier.training JOBDIR
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from luthier.training.protocol import STOPPED

RENDEZVOUS = "LUTHIER_RENDEZVOUS"  # of processes that `other_ranks` started; those of torchrun have MASTER_ADDR
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_GRACE_S = 10.0


class RankPlace(NamedTuple):
    """`rank` of `ranks` processes; `local_rank` of the `local_ranks` on this machine."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    local_ranks: int = 1


def rank_of_environment() -> RankPlace:
    defaults = zip(_VARIABLES, RankPlace(), strict=True)
    return RankPlace(*(int(os.environ.get(name, default)) for name, default in defaults))


@contextmanager
def other_ranks(folder: Path, count: int, lost_exit_code: int) -> Iterator[None]:
    """Starts the ranks 1 to `count` - 1 on this machine, and makes this process rank 0.

    They save nothing and are killed at the end. If one of them dies before, this process exits with `lost_exit_code`;
    if this one dies, they notice the end of their standard input.
    """
    with tempfile.TemporaryDirectory() as shared:
        os.environ[RENDEZVOUS] = f"file://{shared}/rendezvous"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        _set_place(RankPlace(0, count, 0, count), os.environ)
        command = [sys.executable, "-P", "-m", "luthier.training", "--stop-with-parent", str(folder)]
        processes, ending = [], threading.Event()
        for rank in range(1, count):
            environment = dict(os.environ)
            _set_place(RankPlace(rank, count, rank, count), environment)
            # Standard output has the events of the first rank alone.
            processes.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=sys.stderr))
        for process in processes:
            threading.Thread(target=_watch, args=(process, ending, lost_exit_code), daemon=True).start()
        try:
            yield
        finally:
            ending.set()
            for process in processes:
                process.kill()
                process.wait()


def _set_place(place: RankPlace, environment: MutableMapping[str, str]) -> None:
    environment.update({name: str(number) for name, number in zip(_VARIABLES, place, strict=True)})


def _watch(process: "subprocess.Popen[bytes]", ending: threading.Event, lost_exit_code: int) -> None:
    """Watch a process, since a sum over ranks may wait for hours for a dead one."""
    code = process.wait()
    if code not in (0, STOPPED) and not ending.wait(_GRACE_S):  # an error of all ranks ends this one by itself
        print(f"A process of this job has ended with {code}.", file=sys.stderr, flush=True)
        os._exit(lost_exit_code)
