"""A bucket on a server that speaks S3 and checks signatures; `make test-s3` installs it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import bucket as bucket_module
from luthier.store.bucket import Bucket
from luthier.store.content import Content
from luthier.types.errors import UnavailableError
from s3_server import KEY, REASON, SECRET, s3_server

pytest.importorskip("nanio", reason=REASON)
pytestmark = pytest.mark.services


@pytest.fixture(name="variables", scope="module")
def _variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


@pytest.fixture(name="bucket")
def _bucket(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in variables.items():
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
    with pytest.raises(UnavailableError) as error_info:
        Bucket.open("s3://bucket/prefix").put_bytes("one", b"content")
    assert "SignatureDoesNotMatch" in str(error_info.value)
    assert not any(secret in str(error_info.value) for secret in (SECRET, "another-secret", KEY))
    assert error_info.value.__cause__ is None


def test_a_server_that_is_gone_is_unavailable(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(bucket_module._RETRY, "max_retries", 0)
    with pytest.raises(UnavailableError, match="s3://bucket/prefix could not read one"):
        Bucket.open("s3://bucket/prefix").read("one")
