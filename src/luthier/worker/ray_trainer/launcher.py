"""The worker's view of a trainer on Ray: a process like that of a local trainer."""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from luthier.language import say
from luthier.settings import Settings
from luthier.training.protocol import NodeLost
from luthier.types.errors import LuthierError
from luthier.worker.trainer_hardware import TrainerHardware
from luthier.worker.trainer_process import LocalTrainerProcess

_EXIT = "exit"  # the type of the driver's last line, which is not an event


class TrainerResources(NamedTuple):
    """The resources that a trainer with all its processes reserves on one node."""

    cpus: int
    gpus: int
    memory_bytes: int

    @classmethod
    def of(cls, hardware: TrainerHardware, memory_bytes: int) -> "TrainerResources":
        """One GPU per process if the device is `cuda`; Ray hides GPUs that are not reserved."""
        return cls(hardware.threads, hardware.processes if hardware.device == "cuda" else 0, memory_bytes)


class RayTrainerProcess(LocalTrainerProcess):
    """The driver as a subprocess. When it is killed, Ray ends the actor, and the trainer follows after its step."""

    def __init__(self, folder: Path, resources: TrainerResources) -> None:
        super().__init__(folder)
        self._resources = resources
        self._code: int | None = None

    def _command(self) -> list[str]:
        numbers = [str(number) for number in self._resources]
        return [sys.executable, "-P", "-m", "luthier.worker.ray_trainer", *numbers, str(self._folder)]

    def events(self) -> Iterator[dict[str, Any]]:
        """The trainer's events; ends with `node_lost` if its exit code is unknown."""
        for fields in super().events():
            if fields["type"] == _EXIT:
                self._code = fields["code"]
            else:
                yield fields
        if self._code is None:
            yield NodeLost(reason=f"the driver ended with {super().wait()}").model_dump()

    def peak_memory_bytes(self) -> int | None:
        return None

    def resident_bytes(self) -> int | None:
        return None

    def wait(self) -> int:
        code = super().wait()
        return code if self._code is None else self._code


def exit_line(code: int) -> str:
    """The driver's last line: how the trainer ended."""
    return json.dumps({"type": _EXIT, "code": code}) + "\n"


def require_launcher(settings: Settings) -> None:
    """Raises LuthierError if trainers cannot be started with these settings."""
    if settings.launcher == "local":
        return
    if find_spec("ray") is None:
        raise LuthierError(
            say(
                "The launcher ray needs the package ray: pip install 'luthier[ray]'",
                "使用 ray 启动训练需要 ray 包：pip install 'luthier[ray]'",
            )
        )
    if TrainerHardware.of(settings).threads == 0:
        raise LuthierError(
            say(
                "The launcher ray must know how many CPUs a trainer reserves: set LUTHIER_THREADS, for example to 4.",
                "使用 ray 启动训练时，需要知道每个训练进程占用的 CPU 数：请设置 LUTHIER_THREADS，例如 4。",
            )
        )
