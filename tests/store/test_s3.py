"""A bucket on a server that speaks S3 and checks signatures; `make test-s3` installs it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import bucket as bucket_module
from luthier.store.bucket import Bucket
from luthier.store.content import Content
from luthier.types.errors import UnavailableError

pytest.importorskip("nanio", reason="nanio, a small S3 server, is not installed: make test-s3")
pytestmark = pytest.mark.services
_KEY, _SECRET = "access-key-of-the-test", "secret-key-of-the-test"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with one bucket."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "NANIO_ACCESS_KEY": _KEY, "NANIO_SECRET_KEY": _SECRET}
    command = [sys.executable, "-m", "nanio", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(folder), "--log-level", "error", "--no-access-log"]
    process = subprocess.Popen(command, env=environment)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(name="bucket")
def _bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    variables = {"AWS_ENDPOINT_URL": server, "AWS_REGION": "us-east-1"}
    for name, value in {**variables, "AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}.items():
        monkeypatch.setenv(name, value)
    return Bucket.open("s3://bucket/prefix")


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(bucket: Bucket, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "new folder" / "target"
    source.write_bytes(os.urandom(1 << 20) * 20)  # three parts
    bucket.put("files/large", source)
    assert bucket.content("files/large") == bucket.fetch("files/large", target) == Content.of(source)
    assert target.read_bytes() == source.read_bytes()


def test_objects_are_listed_by_their_folder_and_deleted(bucket: Bucket) -> None:
    for key in ("models/a-1/weights", "models/a-1/config", "models/a-10/weights"):
        bucket.put_bytes(key, b"content")
    listed = sorted(bucket.list("models/a-1"))
    assert [(entry.key, entry.bytes) for entry in listed] == [("models/a-1/config", 7), ("models/a-1/weights", 7)]
    assert abs(listed[0].modified_at - time.time()) < 60
    bucket.delete("models/a-1/config", "models/a-1/never there")
    assert [bucket.has(key) for key in ("models/a-1/config", "models/a-1/weights")] == [False, True]
    for read in (bucket.read, bucket.content):
        with pytest.raises(FileNotFoundError):
            read("models/a-1/config")


def test_a_refusal_names_the_cause_and_no_secret(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    with pytest.raises(UnavailableError) as caught:
        Bucket.open("s3://bucket/prefix").put_bytes("one", b"content")
    assert "SignatureDoesNotMatch" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (_SECRET, "another-secret", _KEY))
    assert caught.value.__cause__ is None


def test_a_server_that_is_gone_is_unavailable(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(bucket_module._RETRY, "max_retries", 0)
    with pytest.raises(UnavailableError, match="s3://bucket/prefix could not read one"):
        Bucket.open("s3://bucket/prefix").read("one")
