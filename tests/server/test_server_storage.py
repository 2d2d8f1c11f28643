"""A locked database or a full disk: writes are refused in words that say so, reads go on, and nothing is lost."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, bare_server

from luthier.store.blobs import FolderBlobs

_CONTENT = b'{"messages": []}\n'


@pytest.fixture(name="impatient", scope="module")
def _impatient(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server that waits a second for the database's lock instead of a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.store.sqlite_backend._BUSY_TIMEOUT_MS", 1000)
        with bare_server(tmp_path_factory.mktemp("impatient"), tiny_base) as running:
            yield running


@pytest.fixture(name="locked")
def _locked(impatient: Bare) -> Iterator[Bare]:
    """While another program holds the lock."""
    impatient.store.files.list(purpose=None, limit=1, ascending=True, after=None)
    connection = sqlite3.connect(impatient.store._folder / "luthier.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield impatient
    connection.rollback()
    connection.close()


def _upload(client: OpenAI) -> str:
    return client.files.create(file=("a.jsonl", _CONTENT), purpose="fine-tune").id


def test_a_write_to_a_locked_database_is_503_and_may_be_repeated(locked: Bare) -> None:
    with pytest.raises(openai.InternalServerError, match="locked by another program") as refused:
        _upload(locked.client())
    assert (refused.value.status_code, refused.value.code) == (503, "database_busy")
    assert refused.value.response.headers["retry-after"] == "5"


def test_reads_go_on_while_more_writes_wait_than_there_are_threads(locked: Bare) -> None:
    errors: list[int] = []

    def write() -> None:
        try:
            _upload(locked.client())
        except openai.APIStatusError as error:
            errors.append(error.status_code)

    writers = [threading.Thread(target=write) for _ in range(60)]
    for writer in writers:
        writer.start()
    with locked.http() as http:
        assert [http.get("/files").status_code for _ in range(5)] == [200] * 5
    for writer in writers:
        writer.join()
    assert errors == [503] * 60


def test_afterwards_all_is_well(impatient: Bare) -> None:
    client = impatient.client()
    assert client.files.content(_upload(client)).read() == _CONTENT


@pytest.mark.parametrize(("number", "text"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_a_disk_that_takes_nothing_is_507(
    impatient: Bare, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(FolderBlobs, "write", refuse)
    with impatient.http() as http:
        files = {"file": ("a.jsonl", _CONTENT), "purpose": (None, "fine-tune")}
        response: httpx.Response = http.post("/files", files=files)
        assert response.status_code == 507
        assert text in response.json()["error"]["message"]
        assert response.headers["x-should-retry"] == "false"
        assert http.get("/files").status_code == 200
