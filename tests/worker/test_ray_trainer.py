"""A trainer on another node without Ray: actor and mirror in this process, and what a worker makes of a loss."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from luthier.settings import Settings
from luthier.store import Store
from luthier.training.job_spec import JobSpec
from luthier.types.errors import LuthierError
from luthier.worker.ray_trainer import launcher, node
from luthier.worker.ray_trainer.launcher import RayTrainerProcess, TrainerResources, exit_line, require_launcher
from luthier.worker.ray_trainer.mirror import Mirror
from luthier.worker.ray_trainer.node import NodeTrainer, file_statuses
from luthier.worker.side_by_side import TrainingMemory
from luthier.worker.trainer_hardware import TrainerHardware
from luthier.worker.trainer_process import LocalTrainerProcess
from worker.test_run import Script, context_of, run_until_over, steps

# Stands in for the trainer. Its claim is the second, so it replaces the state of the first.
_PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def emit(**fields):
    line = json.dumps(fields)
    with (folder / "events.jsonl").open("a") as file:
        file.write(line + "\\n")
    print(line, flush=True)
def write(path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
def save(text):
    write("state/state-2.new", text)
    (folder / "state/state-2.new").rename(folder / "state/state-2.safetensors")
    (folder / "state/state-1.safetensors").unlink(missing_ok=True)
"""
_WHOLE_RUN = """
emit(type="metrics", step=2)
write("checkpoints/step-2/weights", "of step 2")
emit(type="checkpoint", step=2, folder="step-2")
write("checkpoints/best/weights", "better")
save("after step 2")
time.sleep(0.2)
emit(type="metrics", step=3)
save("after step 3")
print("a note", file=sys.stderr)
"""
_UNTIL_STOPPED = """
def stop(*_):
    save("stopped")
    os._exit(75)
signal.signal(signal.SIGTERM, stop)
emit(type="metrics", step=2)
time.sleep(60)
"""
_KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(autouse=True)
def _fast_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("luthier.worker.ray_trainer.mirror._POLL_S", 0.02)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """The job folder of a worker whose first trainer left a state, and half an event."""
    folder = tmp_path / "job"
    for path, text in (
        ("train.jsonl", "{}\n"),
        ("empty.jsonl", ""),
        ("events.jsonl", '{"type": "metrics", "step": 1}\n{"type": "met'),
        ("state/state-1.safetensors", "after step 1"),
        ("checkpoints/best/weights", "good"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    JobSpec(base=str(base), base_name="tiny", seed=1, fencing_token=2).write(folder)
    return folder


@pytest.fixture(name="actor")
def _actor() -> Iterator[NodeTrainer]:
    actor = NodeTrainer()
    yield actor
    actor.close()


@pytest.fixture(name="run")
def _run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(
        actor: NodeTrainer,
        program: str,
        emit: Callable[[bytes], None] = lambda _line: None,
        stop: threading.Event | None = None,
    ) -> int:
        class Trainer(LocalTrainerProcess):
            def _command(self) -> list[str]:
                return [sys.executable, "-I", "-S", "-c", _PRELUDE + program, str(self._folder)]

        monkeypatch.setattr(node, "LocalTrainerProcess", Trainer)
        return Mirror(folder, actor, emit).run(stop or threading.Event())

    return run


def _contents(folder: Path) -> dict[str, str]:
    return {status.path: (folder / status.path).read_text() for status in file_statuses(folder)}


def test_what_a_trainer_writes_on_its_node_is_in_the_job_folder(
    folder: Path, actor: NodeTrainer, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, Any]] = []
    counted_on: list[tuple[str, list[int]]] = []

    def emit(line: bytes) -> None:
        events.append(json.loads(line))
        if events[-1]["type"] == "checkpoint":
            assert (folder / "checkpoints" / events[-1]["folder"] / "weights").read_text() == "of step 2"

    def read(path: str, offset: int, most_bytes: int) -> bytes:
        if "/state/" in path:
            lines = (folder / "events.jsonl").read_text().splitlines()
            best = (folder / "checkpoints/best/weights").read_text()
            counted_on.append((best, [json.loads(line)["step"] for line in lines]))
        return NodeTrainer.read(actor, path, offset, most_bytes)

    monkeypatch.setattr(actor, "read", read)
    assert run(actor, _WHOLE_RUN, emit) == 0
    assert [event["step"] for event in events] == [2, 2, 3]
    contents = _contents(folder)
    lines = [json.loads(line) for line in contents.pop("events.jsonl").splitlines()]
    assert lines == [{"type": "metrics", "step": 1}, *events]
    assert counted_on
    assert all(best == "better" and steps_before[:3] == [1, 2, 2] for best, steps_before in counted_on)
    assert json.loads(contents.pop("job.json"))["base"] == str(folder.parent / "base")
    assert contents == {
        "train.jsonl": "{}\n",
        "empty.jsonl": "",
        "checkpoints/best/weights": "better",
        "checkpoints/step-2/weights": "of step 2",
        "state/state-2.safetensors": "after step 3",
        "trainer.log": "a note\n",
    }


def test_a_request_to_stop_brings_the_state_back(folder: Path, actor: NodeTrainer, run: Callable[..., int]) -> None:
    stop = threading.Event()
    assert run(actor, _UNTIL_STOPPED, lambda _line: stop.set(), stop) == 75
    assert (folder / "state/state-2.safetensors").read_text() == "stopped"


def test_a_request_to_stop_before_the_start_changes_nothing(
    folder: Path, actor: NodeTrainer, run: Callable[..., int]
) -> None:
    stop = threading.Event()
    stop.set()
    assert run(actor, _WHOLE_RUN, stop=stop) == 75
    assert (folder / "state/state-1.safetensors").read_text() == "after step 1"


def test_models_that_a_node_lacks_are_sent(folder: Path, actor: NodeTrainer, run: Callable[..., int]) -> None:
    parent = folder.parent / "parent"
    (parent / "adapters").mkdir(parents=True)
    (parent / "adapters" / "weights").write_text("of the parent")
    spec = replace(JobSpec.read(folder), parent=str(parent))
    spec.write(folder)
    is_present = actor.has_folder
    actor.has_folder = lambda place, files: place != str(parent) and is_present(place, files)  # type: ignore[method-assign]
    reported: list[dict[str, Any]] = []
    report = 'spec = json.loads((folder / "job.json").read_text()); emit(type="resolved", **spec)\n'
    report += 'emit(type="resolved", text=Path(spec["parent"], "adapters/weights").read_text())'
    assert run(actor, report, lambda line: reported.append(json.loads(line))) == 0
    assert reported[0]["base"] == spec.base
    assert reported[0]["parent"] != str(parent)
    assert reported[0]["cache"] is None  # that of the node
    assert reported[1]["text"] == "of the parent"


def test_a_folder_with_another_size_is_another_model(folder: Path, actor: NodeTrainer) -> None:
    base = folder.parent / "base"
    files = file_statuses(base)
    assert actor.has_folder(str(base), files)
    assert not actor.has_folder(str(base), [replace_size(files[0])])
    assert not actor.has_folder(str(base / "absent"), [])


def replace_size(status: node.FileStatus) -> node.FileStatus:
    return status._replace(bytes=status.bytes + 1)


@pytest.mark.parametrize(("kills", "code"), [((3, 3), -9), ((3, 4), 74)], ids=["from outside", "for memory"])
def test_memory_that_runs_out_on_the_node_is_a_fault(
    kills: tuple[int, int], code: int, actor: NodeTrainer, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter(kills)
    monkeypatch.setattr("luthier.worker.out_of_memory.count_kills", lambda: next(counts))
    assert run(actor, _KILLED) == code


def test_the_next_actor_deletes_what_killed_ones_left(tmp_path: Path) -> None:
    root = tmp_path / f"luthier-trainers-{os.getuid()}"
    for name in ("abandoned", "saving"):
        (root / name / "job").mkdir(parents=True)
    with FileLock(root / "saving" / "job" / "trainer.lock"):
        first = NodeTrainer()
        second = NodeTrainer()
        folders = {path.name for path in root.iterdir() if path.is_dir()}
    assert "saving" in folders
    assert "abandoned" not in folders
    assert len(folders) == 3
    first.close()
    second.close()


@pytest.mark.parametrize("last", [exit_line(75), ""], ids=["with an exit code", "without"])
def test_a_driver_that_ends_without_a_word_is_a_lost_node(last: str, tmp_path: Path) -> None:
    class Driver(RayTrainerProcess):
        def _command(self) -> list[str]:
            text = '{"type": "metrics", "step": 1}\n' + last
            return [sys.executable, "-I", "-S", "-c", f"import sys; print({text!r}, end=''); sys.exit(7)"]

    driver = Driver(tmp_path, TrainerResources(1, 0, 1))
    driver.start()
    types = [event["type"] for event in driver.events()]
    assert (types, driver.wait()) == ((["metrics"], 75) if last else (["metrics", "node_lost"], 7))


def test_a_lost_node_is_no_failed_attempt(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr("luthier.worker.training_run._AFTER_NODE_LOSS_S", 0)
    loss = {"type": "node_lost", "reason": "ActorDiedError: the node died"}
    Script.rounds = [*[([*steps(1, 3), loss], 0)] * 5, *[([], -11)] * 3]
    assert run_until_over(store, tiny_base, tmp_path, monkeypatch) == ("trainer_died", 8)
    job = store.jobs.list(limit=1, after=None).data[0]
    messages = [event.message for event in store.jobs.events(job.id, limit=100, after=None).data]
    assert sum("was lost (ActorDiedError: the node died)" in message for message in messages) == 5


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def test_ray_finds_the_room_itself(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.worker.side_by_side.available_memory", lambda: 0)
    monkeypatch.setenv("LUTHIER_LAUNCHER", "ray")
    memory = TrainingMemory(context_of(store, tmp_path))
    assert memory.has_room(None, ("another",))  # type: ignore[arg-type]


def test_processes_on_gpus_reserve_one_each() -> None:
    cpu = TrainerHardware("auto", "auto", threads=4, processes=2, trainers=1)
    assert TrainerResources.of(cpu, 7) == (4, 0, 7)
    assert TrainerResources.of(cpu._replace(device="cuda"), 7) == (4, 2, 7)


@pytest.mark.parametrize(
    ("threads", "is_installed", "remedy"), [(2, False, "luthier[ray]"), (0, True, "LUTHIER_THREADS")]
)
def test_what_ray_needs_is_said_at_the_start(
    threads: int, is_installed: bool, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "find_spec", lambda _name: object() if is_installed else None)
    with pytest.raises(LuthierError, match=remedy.replace("[", r"\[")):
        require_launcher(Settings(launcher="ray", threads=threads))
    require_launcher(Settings(launcher="local", threads=0))
