"""`/v1/files` through the official client, and raw requests that the client would not send."""

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, bare_server, body_of
from starlette.responses import FileResponse

LINE = b'{"messages": []}\n'
LIMIT = 200_000


@pytest.fixture(scope="module")
def small(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server with a small file size limit."""
    with bare_server(tmp_path_factory.mktemp("small"), tiny_base, max_file_bytes=LIMIT) as running:
        yield running


def test_create_retrieve_content_delete(client: OpenAI) -> None:
    content = bytes(range(256)) * 40
    created = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
    assert created.id.startswith("file-")
    assert (created.object, created.bytes, created.filename, created.purpose) == (
        "file",
        10240,
        "train.jsonl",
        "fine-tune",
    )
    assert (created.status, created.expires_at) == ("processed", None)
    assert client.files.retrieve(created.id) == created
    assert client.files.wait_for_processing(created.id).status == "processed"
    assert client.files.content(created.id).read() == content
    deleted = client.files.delete(created.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (created.id, "file", True)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(created.id)


def test_unknown_and_deleted_files_are_not_found(client: OpenAI) -> None:
    created = client.files.create(file=("x.jsonl", LINE), purpose="fine-tune")
    client.files.delete(created.id)
    for file_id in (created.id, "file-unknown", "a/b", "file-中"):
        for call in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                call(file_id)
            if file_id == created.id:
                assert body_of(caught.value) == {
                    "message": f"No such File object: {created.id}",
                    "type": "invalid_request_error",
                    "param": "id",
                    "code": None,
                }


def test_list_by_order_cursor_and_purpose(bare_client: OpenAI) -> None:
    files = [bare_client.files.create(file=(f"{n}.jsonl", LINE), purpose="evals").id for n in range(5)]
    second = bare_client.files.create(file=("o.jsonl", LINE), purpose="user_data").id
    page = bare_client.files.list(purpose="evals", order="asc", limit=2)
    assert [file.id for file in page.data] == files[:2]
    assert page.has_more
    assert (page.first_id, page.last_id) == (files[0], files[1])
    assert [file.id for file in page] == files  # the client follows the cursor
    assert [file.id for file in bare_client.files.list(purpose="evals")] == files[::-1]
    after = bare_client.files.list(purpose="evals", after=files[3])
    assert ([file.id for file in after.data], after.has_more) == (files[2::-1], False)
    assert bare_client.files.list().data[0].id == second
    assert bare_client.files.list(purpose="vision").data == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "integer_below_min_value"),
        ("limit=10001", "integer_above_max_value"),
        ("limit=x", "invalid_type"),
        (f"limit={'9' * 5000}", "invalid_type"),
        ("order=up", "invalid_value"),
    ],
)
def test_list_refuses(raw: httpx.Client, query: str, code: str) -> None:
    answer = raw.get(f"/files?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("purpose", ["fine-tune", "batch", "user_data"])
def test_an_empty_file(raw: httpx.Client, purpose: str) -> None:
    answer = raw.post("/files", data={"purpose": purpose}, files={"file": ("x.jsonl", b"")})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "File is empty.")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("=?utf-8?B?5pWw5o2uLmpzb25s?=", "数据.jsonl"),
        ("=?UTF-8?Q?caf=C3=A9=2Ejsonl?=", "café.jsonl"),
        ("=?.jsonl", "=?.jsonl"),
    ],
)
def test_a_name_as_net_sends_it(raw: httpx.Client, sent: str, name: str) -> None:
    """An encoded word of mail, in a form."""
    body = (
        '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\n'
        f'Content-Disposition: form-data; name="file"; filename="{sent}"\r\n\r\n{{}}\n\r\n--b--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = raw.post("/files", content=body.encode(), headers=headers)
    assert (answer.status_code, answer.json().get("filename")) == (200, name)


def test_expires_after(client: OpenAI) -> None:
    created = client.files.create(
        file=("x.jsonl", LINE), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert created.expires_at == created.created_at + 3600


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune", "expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"purpose": "fine-tune", "expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        (
            {"purpose": "fine-tune", "expires_after[seconds]": "3599", "expires_after[anchor]": "created_at"},
            "expires_after[seconds]",
        ),
        ({"purpose": "fine-tune", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, None),
        ({"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"}, None),
        ({"purpose": "training"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({}, "purpose"),
        ({"purpose": "fine-tune", "Colour": "red"}, "Colour"),
    ],
)
def test_create_refuses_fields(raw: httpx.Client, fields: dict[str, str], param: str | None) -> None:
    answer = raw.post("/files", data=fields, files={"file": ("x.jsonl", LINE)})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ([param] if param else fields)


def test_create_without_a_file(raw: httpx.Client) -> None:
    """Without a file part, with text in its place, as JSON, and as an invalid form."""
    missing = raw.post("/files", data={"purpose": "fine-tune"}, files={"other": ("x", b"")})
    assert missing.json()["error"]["message"] == "Missing required parameter: 'file'."
    text = raw.post("/files", files={"purpose": (None, "fine-tune"), "file": (None, "text")})
    assert text.json()["error"]["param"] == "file"
    answers = [
        missing,
        text,
        raw.post("/files", json={"purpose": "fine-tune"}),
        raw.post("/files"),
        raw.post("/files", content=b"zz", headers={"content-type": "multipart/form-data"}),
        raw.post("/files", content=b"zz", headers={"content-type": "multipart/form-data; boundary=b"}),
        raw.post("/files", files=[("file", ("a", b"")), ("file", ("b", b"")), ("purpose", (None, "evals"))]),
    ]
    assert [answer.status_code for answer in answers] == [400] * len(answers)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("训练数据.jsonl", "训练数据.jsonl"),
        ('say "hi".jsonl', 'say "hi".jsonl'),
        ("../../etc/passwd.jsonl", "passwd.jsonl"),
        ("C:\\data\\train.jsonl", "train.jsonl"),
        ("Train.JSONL", "Train.JSONL"),
        ("a b;c=d.jsonl", "a b;c=d.jsonl"),
        ("é" * 300 + ".jsonl", "é" * 300 + ".jsonl"),
    ],
)
def test_file_names(client: OpenAI, raw: httpx.Client, sent: str, stored: str) -> None:
    created = client.files.create(file=(sent, LINE), purpose="fine-tune")
    assert created.filename == stored
    answer = raw.get(f"/files/{created.id}/content")
    assert answer.content == LINE
    assert answer.headers["content-disposition"].startswith("attachment; filename")


def form(content_type: str, name: bytes = b"a.txt") -> dict[str, Any]:
    part = b"--X\r\nContent-Disposition: form-data; name="
    body = part + b'"purpose"\r\n\r\nvision\r\n' + part + b'"file"; filename="' + name + b'"\r\n\r\nzz\r\n--X--\r\n'
    return {"content": body, "headers": {"content-type": content_type}}


def test_forms_are_in_utf_8(raw: httpx.Client) -> None:
    """In other character sets a file name can hold lone surrogates, or be undecodable."""
    for charset in ("unicode_escape", "utf-7", "punycode"):
        answer = raw.post("/files", **form(f"multipart/form-data; boundary=X; charset={charset}", b"a\\ud800+2AA-"))
        assert answer.status_code == 400
        assert "UTF-8" in answer.json()["error"]["message"]
    for written in ("Multipart/Form-Data; boundary=X", 'multipart/form-data; charset="UTF-8"; boundary=X'):
        assert raw.post("/files", **form(written)).json()["filename"] == "a.txt"


def test_content_that_goes_while_it_is_asked_for(
    bare: Bare, bare_client: OpenAI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = bare_client.files.create(file=("x.txt", b"x"), purpose="vision")
    monkeypatch.setattr("luthier.store.files.Files.path", lambda self, file_id: tmp_path / "gone")
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
        bare_client.files.content(file.id)
    (tmp_path / "gone").touch()

    def looked_at(response: FileResponse, listed: os.stat_result) -> None:  # the last thing before it is opened
        Path(response.path).unlink()
        response.headers["content-length"] = str(listed.st_size)

    monkeypatch.setattr(FileResponse, "set_stat_headers", looked_at)
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
        bare_client.files.content(file.id)


@pytest.mark.parametrize(("params", "status"), [("bytes=9-", 416), ("lines=1-2", 400)])
def test_ranges_of_content(raw: httpx.Client, client: OpenAI, params: str, status: int) -> None:
    path = f"/files/{client.files.create(file=('x.txt', b'abc'), purpose='vision').id}/content"
    part = raw.get(path, headers={"range": "bytes=1-1"})
    assert (part.status_code, part.content) == (206, b"b")
    refused = raw.get(path, headers={"range": params})
    assert refused.status_code == status
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    assert refused.headers.get("content-range") == ("bytes */3" if status == 416 else None)


def test_a_file_that_is_too_large(small: Bare) -> None:
    client = small.client()
    client.files.create(file=("x.jsonl", b"x" * LIMIT), purpose="fine-tune")
    for size in (LIMIT + 1, LIMIT * 2, LIMIT * 200):  # over by a little, over with its form, far over
        with pytest.raises(openai.APIStatusError) as caught:
            client.files.create(file=("x.jsonl", io.BytesIO(b"x" * size)), purpose="fine-tune")
        assert caught.value.status_code == 413
        assert "larger than" in str(body_of(caught.value)["message"])
    assert len(client.files.list().data) == 1


def test_a_large_body_that_says_nothing_of_its_length(small: Bare) -> None:
    """Chunked bodies: bytes beyond the limit are discarded on arrival."""

    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 100_000
        yield b"\r\n--b--\r\n"

    before = len(small.client().files.list().data)
    with small.http() as http:
        answer = http.post("/files", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413
    assert len(small.client().files.list().data) == before


def test_a_client_that_goes_away_while_sending(small: Bare) -> None:
    host, _, port = small.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b'Content-Length: 5000\r\n\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx'
        )
    before = len(small.client().files.list().data)
    assert len(small.client().files.list().data) == before


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
def test_every_purpose(bare_client: OpenAI, purpose: Any) -> None:
    """Batch files expire after 30 days by default; all others do not expire."""
    created = bare_client.files.create(file=("x.jsonl", LINE), purpose=purpose)
    assert bare_client.files.list(purpose=purpose).data[0].id == created.id
    assert created.expires_at == (created.created_at + 30 * 86400 if purpose == "batch" else None)
    bare_client.files.delete(created.id)


@pytest.mark.parametrize(("purpose", "api"), [("fine-tune", "Fine-Tuning"), ("batch", "Batch")])
def test_files_of_lines_are_named_so(bare_client: OpenAI, purpose: Any, api: str) -> None:
    for name in ("train.json", "upload", "jsonl"):
        with pytest.raises(openai.BadRequestError) as caught:
            bare_client.files.create(file=(name, LINE), purpose=purpose)
        assert body_of(caught.value)["message"] == f"Invalid file format for {api} API. Must be .jsonl"
    assert bare_client.files.create(file=("photo", b"x"), purpose="vision").filename == "photo"


def test_a_batch_file_has_a_limit_of_its_own(bare_client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.server.routes.files.BATCH_FILE_BYTES", 20)
    bare_client.files.create(file=("x.jsonl", b"x" * 30), purpose="fine-tune")
    with pytest.raises(openai.APIStatusError) as caught:
        bare_client.files.create(file=("x.jsonl", b"x" * 30), purpose="batch")
    assert caught.value.status_code == 413
