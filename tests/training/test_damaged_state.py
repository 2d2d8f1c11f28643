"""A resume state that is not what was written is not trained from: the job starts over, and says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.jobs import losses, train, write_job

_STOP_AFTER = 3


def _flip(content: bytes, offset: int) -> bytes:
    changed = bytearray(content)
    changed[offset] ^= 1
    return bytes(changed)


_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "a weight": lambda content: _flip(content, len(content) // 2),
    "the last byte": lambda content: _flip(content, -1),
    "the step": lambda content: content.replace(b'\\"step\\": 3', b'\\"step\\": 2'),
    "the header": lambda content: _flip(content, 0),
    "half a file": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"",
}


@pytest.fixture(scope="module")
def uninterrupted(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return train(write_job(tmp_path_factory.mktemp("whole") / "job", tiny_base))


@pytest.mark.parametrize("fault", _FAULTS)
def test_it_starts_over(tmp_path: Path, tiny_base: Path, uninterrupted: list[dict[str, Any]], fault: str) -> None:
    folder = write_job(tmp_path / "job", tiny_base)
    train(folder, stop_after=_STOP_AFTER)
    (state,) = (folder / "state").glob("*.safetensors")
    content = state.read_bytes()
    state.write_bytes(_FAULTS[fault](content))
    assert state.read_bytes() != content
    events = train(folder)
    assert [event["type"] for event in events].count("resume_state_unreadable") == 1
    assert losses(events) == losses(uninterrupted)
