"""What a crash between two steps of one promise leaves is found again, or swept."""

import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from luthier.store import Event, Retention, Store
from luthier.store.request_ids import resource_id, seeded
from luthier.types.stored import StoredCompletion

_DAY_S = 24 * 3600
_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_file_that_is_written_again_under_its_seed_is_the_same_file(store: Store) -> None:
    def write(content: bytes) -> str:
        return store.files.create("a.csv", "fine-tune-results", lambda out: out.write(content) and None).id

    ids = []
    for content in (b"first", b"second"):
        with seeded("job/result"):
            ids.append([write(content), write(b"another of the operation")])
    assert ids[0] == ids[1]
    assert [store.files.path(file_id).read_bytes() for file_id in ids[0]] == [b"first", b"another of the operation"]
    assert write(b"first") not in ids[0]


def _job(store: Store) -> str:
    values = {"model": "gpt-4o-mini", "base": "b", "training_file": "file-a", "seed": 1, "integrations": []}
    return store.jobs.create(**values, method={"type": "supervised", "supervised": {"hyperparameters": {}}}).id


@pytest.mark.parametrize(
    ("finished", "age_s", "swept"), [(True, 2 * _DAY_S, True), (True, 60, False), (False, 2 * _DAY_S, False)]
)
def test_a_checkpoint_without_a_row_is_swept_when_its_job_is_over(
    store: Store, tmp_path: Path, finished: bool, age_s: int, swept: bool
) -> None:
    job_id = _job(store)
    if finished:
        store.jobs.transition(job_id, ("validating_files",), "cancelled", Event("cancelled"))
    folder = tmp_path / "models" / f"{job_id}-step-3"
    folder.mkdir()
    os.utime(folder, (time.time() - age_s,) * 2)
    store.delete_expired()
    assert folder.exists() != swept


def test_folders_of_another_kind_are_left_alone(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir()
    os.utime(folder, (0, 0))
    store.delete_expired()
    assert folder.exists()


def test_an_answer_that_is_given_again_under_its_seed_is_stored_once(store: Store) -> None:
    def answer(seed: str | None) -> str:
        with seeded(seed) if seed else nullcontext():
            values = {"model": "m", "created": 1, "choices": [], "usage": None, "system_fingerprint": None}
            completion = StoredCompletion.model_construct(id=resource_id("chatcmpl-"), metadata={}, **values)
            store.stored_completions.create(completion, [], days=1, max_rows=9)
            return completion.id

    assert answer("batch/1") == answer("batch/1")
    assert len({answer("batch/2"), answer(None), answer(None)}) == 3
    assert store.stored_completions.count() == 4


def test_the_answer_that_is_stored_is_the_one_that_was_sent(store: Store) -> None:
    """Of a generation that is repeated, as the first one died before its response was sent: it writes another text."""
    conversation = {"id": store.conversations.create({}, [], max_rows=9).id}
    for text in ("died", "sent"):
        with seeded("key"):
            values = {"created": 1, "choices": [], "usage": _NO_USAGE, "system_fingerprint": None}
            completion = StoredCompletion(id="chatcmpl-1", model=text, metadata={}, **values)
            store.stored_completions.create(completion, [], days=1, max_rows=9)
            item = {"id": f"msg_{text}", "type": "message", "role": "assistant", "content": text}
            response = {"id": "resp_1", "status": "completed", "created_at": 1, "conversation": conversation}
            store.responses.create({**response, "output": [item]}, [], Retention(days=9, max_rows=9))
    assert store.stored_completions.retrieve("chatcmpl-1").model == "sent"
    assert store.responses.retrieve("resp_1").response["output"] == [item]
    assert store.conversations.context(conversation["id"]) == [item]
