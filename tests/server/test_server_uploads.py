"""`/v1/uploads` through the official client: parts in any order and at once, and no files left behind."""

import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, bare_server, body_of, until
from sqlalchemy import update

from luthier.store.uploads import EXPIRES_AFTER_S, Uploads, uploads

LINE = b'{"messages": []}\n'


@pytest.fixture(scope="module")
def upload_server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server whose upload limit is slightly above its file limit."""
    data = tmp_path_factory.mktemp("uploads")
    with bare_server(data, tiny_base, max_file_bytes=1000, max_upload_bytes=100_000) as running:
        yield running


@pytest.fixture(scope="module")
def uploader(upload_server: Bare) -> OpenAI:
    return upload_server.client()


def start(client: OpenAI, size: int, **params: Any) -> str:
    params = {"filename": "train.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl", **params}
    return client.uploads.create(bytes=size, **params).id


def add(client: OpenAI, upload: str, data: bytes) -> str:
    return client.uploads.parts.create(upload, data=data).id


def refused(call: Any, *params: Any, **named: Any) -> dict[str, object]:
    with pytest.raises(openai.BadRequestError) as caught:
        call(*params, **named)
    return body_of(caught.value)


def left(upload_server: Bare) -> list[Path]:
    """The files in the folder of parts."""
    return list(upload_server.store.uploads.folder.iterdir())


def test_parts_go_together_as_the_call_says(uploader: OpenAI, upload_server: Bare) -> None:
    content = LINE * 200
    completed = uploader.uploads.create(
        bytes=len(content), filename="a/b/train.jsonl", purpose="fine-tune", mime_type="text/jsonl"
    )
    assert (completed.object, completed.status, completed.bytes, completed.filename) == (
        "upload",
        "pending",
        len(content),
        "train.jsonl",
    )
    assert completed.expires_at == completed.created_at + EXPIRES_AFTER_S
    assert completed.file is None
    pieces = [content[:1000], content[1000:2500], content[2500:]]
    ids = {index: add(uploader, completed.id, pieces[index]) for index in (2, 0, 1)}
    add(uploader, completed.id, b"never used")
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    done = uploader.uploads.complete(completed.id, part_ids=[ids[0], ids[1], ids[2]], md5=digest)
    assert done.status == "completed"
    assert done.file is not None
    assert (done.file.bytes, done.file.purpose, done.file.filename) == (len(content), "fine-tune", "train.jsonl")
    assert uploader.files.content(done.file.id).read() == content
    assert uploader.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=done.file.id).id
    assert left(upload_server) == []
    retried = uploader.uploads.complete(completed.id, part_ids=[ids[0], ids[1], ids[2]], md5=digest)
    assert retried == done  # a retry of a call whose answer was lost


def test_the_helper_of_the_client(uploader: OpenAI) -> None:
    content = LINE * 3000
    done = uploader.uploads.upload_file_chunked(
        file=content,
        filename="big.jsonl",
        bytes=len(content),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=9999,
    )
    assert done.file is not None
    assert uploader.files.content(done.file.id).read() == content


def test_parts_at_once(uploader: OpenAI) -> None:
    upload = start(uploader, 8000)
    ids: dict[int, str] = {}
    threads = [
        threading.Thread(
            target=lambda index=index: ids.update({index: add(uploader, upload, bytes([65 + index]) * 1000)})
        )
        for index in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = uploader.uploads.complete(upload, part_ids=[ids[index] for index in range(8)])
    assert done.file is not None
    assert uploader.files.content(done.file.id).read() == b"".join(bytes([65 + index]) * 1000 for index in range(8))


def test_completed_by_another_between_the_look_and_the_parts(
    uploader: OpenAI, upload_server: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = start(uploader, len(LINE))
    part = add(uploader, upload, LINE)
    check, first = Uploads._check_parts, []

    def other_first(self: Uploads, *params: Any) -> None:
        monkeypatch.setattr(Uploads, "_check_parts", check)
        first.append(upload_server.store.uploads.complete(upload, [part], None))
        check(self, *params)

    monkeypatch.setattr(Uploads, "_check_parts", other_first)
    retried = uploader.uploads.complete(upload, part_ids=[part])
    assert retried.file.id == first[0].file.id


def test_completed_by_two_at_once_there_is_one_file(uploader: OpenAI) -> None:
    upload = start(uploader, 5)
    part = add(uploader, upload, b"12345")
    before = len(uploader.files.list().data)
    files: list[str] = []
    threads = [
        threading.Thread(target=lambda: files.append(uploader.uploads.complete(upload, part_ids=[part]).file.id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files) == 4
    assert len(set(files)) == 1
    assert len(uploader.files.list().data) == before + 1


def test_what_does_not_add_up_is_refused_and_can_be_mended(uploader: OpenAI) -> None:
    upload = start(uploader, 6)
    first_part, second_part = add(uploader, upload, b"abc"), add(uploader, upload, b"def")
    second = add(uploader, start(uploader, 3), b"xyz")
    before = len(uploader.files.list().data)
    complete = uploader.uploads.complete
    assert "have 3 bytes" in str(refused(complete, upload, part_ids=[first_part])["message"])
    assert refused(complete, upload, part_ids=[])["param"] == "part_ids"
    assert "twice" in str(refused(complete, upload, part_ids=[first_part, first_part])["message"])
    assert second in str(refused(complete, upload, part_ids=[first_part, second])["message"])
    assert refused(complete, upload, part_ids=[first_part, second_part], md5="0" * 32)["param"] == "md5"
    assert len(uploader.files.list().data) == before
    done = complete(
        upload,
        part_ids=[second_part, first_part],
        md5=hashlib.md5(b"defabc", usedforsecurity=False).hexdigest().upper(),
    )
    assert done.file is not None
    assert refused(complete, upload, part_ids=[first_part, second_part])["code"] == "upload_not_pending"


def test_a_part_that_is_lost_can_be_sent_again(uploader: OpenAI, upload_server: Bare) -> None:
    upload = start(uploader, 3)
    part = add(uploader, upload, b"abc")
    upload_server.store.uploads._blobs.delete(part)
    assert refused(uploader.uploads.complete, upload, part_ids=[part])["param"] == "part_ids"
    assert uploader.uploads.complete(upload, part_ids=[add(uploader, upload, b"abc")]).status == "completed"


@pytest.mark.parametrize("how", ["completed", "cancelled", "expired"])
def test_nothing_happens_to_an_upload_that_is_over(uploader: OpenAI, upload_server: Bare, how: str) -> None:
    upload = start(uploader, 3)
    part = add(uploader, upload, b"abc")
    if how == "completed":
        uploader.uploads.complete(upload, part_ids=[part])
    elif how == "cancelled":
        assert uploader.uploads.cancel(upload).status == "cancelled"
        assert uploader.uploads.cancel(upload).status == "cancelled"
    else:
        with upload_server.store._database.write() as connection:
            connection.execute(update(uploads).where(uploads.c.id == upload).values(expires_at=1))
    assert how in str(refused(uploader.uploads.parts.create, upload, data=b"more")["message"])
    if how != "completed":
        assert how in str(refused(uploader.uploads.complete, upload, part_ids=[part])["message"])
    if how != "cancelled":
        assert how in str(refused(uploader.uploads.cancel, upload)["message"])
    upload_server.store.uploads.delete_expired()
    assert not (upload_server.store.uploads.folder / part).exists()


def test_tidying_leaves_what_is_open_and_forgets_what_is_long_over(uploader: OpenAI, upload_server: Bare) -> None:
    old, fresh = start(uploader, 3), start(uploader, 3)
    part = add(uploader, fresh, b"abc")
    add(uploader, old, b"abc")
    with upload_server.store._database.write() as connection:
        connection.execute(update(uploads).where(uploads.c.id == old).values(expires_at=1))
    upload_server.store.uploads.delete_expired()
    with pytest.raises(openai.NotFoundError):
        uploader.uploads.cancel(old)
    assert uploader.uploads.complete(fresh, part_ids=[part]).status == "completed"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"filename": "train.txt"}, "filename"),
        ({"filename": "b.json", "purpose": "batch"}, "filename"),
        ({"mime_type": "image/png"}, "mime_type"),
        ({"purpose": "vision", "filename": "a.png"}, "mime_type"),
        ({"purpose": "evals"}, "purpose"),
        ({"size": 100_001}, "bytes"),
        ({"size": -1}, "bytes"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
        ({"extra_body": {"colour": "red"}}, "colour"),
    ],
)
def test_create_refuses(uploader: OpenAI, params: dict[str, Any], param: str) -> None:
    assert refused(start, uploader, params.pop("size", 3), **params)["param"] == param


def test_a_file_for_batches_that_is_too_large(uploader: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        start(uploader, 10**12, purpose="batch")
    assert (caught.value.status_code, body_of(caught.value)["param"]) == (413, "bytes")


def test_an_unknown_upload(uploader: OpenAI) -> None:
    for call in (
        lambda: uploader.uploads.cancel("upload_x"),
        lambda: uploader.uploads.complete("upload_x", part_ids=[]),
        lambda: uploader.uploads.parts.create("upload_x", data=b"x"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert body_of(caught.value)["message"] == "No such Upload object: upload_x"


def test_sizes(uploader: OpenAI, upload_server: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part may exceed the file limit, but not its own limit, nor all parts the upload limit."""
    upload = start(uploader, 90_000)
    add(uploader, upload, b"x" * 90_000)
    assert "100,000" in str(refused(uploader.uploads.parts.create, upload, data=b"x" * 10_001)["message"])
    monkeypatch.setattr("luthier.server.routes.uploads.PART_BYTES", 500)
    with pytest.raises(openai.APIStatusError) as caught:
        uploader.uploads.parts.create(upload, data=b"x" * 501)
    assert caught.value.status_code == 413
    monkeypatch.setattr("luthier.server.http.body_limits.PART_BYTES", 500)
    with pytest.raises(openai.APIStatusError) as caught:
        uploader.uploads.parts.create(upload, data=io.BytesIO(b"x" * 200_000))
    assert caught.value.status_code == 413
    uploader.uploads.cancel(upload)


def test_the_file_of_an_upload_expires_as_asked(uploader: OpenAI) -> None:
    upload = start(uploader, 2, expires_after={"anchor": "created_at", "seconds": 4000})
    file = uploader.uploads.complete(upload, part_ids=[add(uploader, upload, b"ab")]).file
    assert file is not None
    assert file.expires_at == file.created_at + 4000


def test_a_client_that_goes_away_in_mid_part_leaves_nothing(uploader: OpenAI, upload_server: Bare) -> None:
    upload = start(uploader, 5000)
    before = left(upload_server)
    host, _, port = upload_server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            f"POST /v1/uploads/{upload}/parts HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\nx'.encode()
        )
    until(lambda: left(upload_server) == before)
    part = add(uploader, upload, b"x" * 5000)
    assert uploader.uploads.complete(upload, part_ids=[part]).status == "completed"
