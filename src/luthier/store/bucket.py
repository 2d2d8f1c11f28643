"""A bucket of an object store (S3, GCS, Azure, and servers that speak S3), through obstore.

Credentials, region and endpoint come from the environment, as the client reads it: AWS_ACCESS_KEY_ID, AWS_REGION,
AWS_ENDPOINT_URL and so on. Requests to S3 are signed with the SHA-256 of their body, so the server rejects a part that
arrives damaged.
"""

import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from luthier.language import say
from luthier.store.content import Content, Digest
from luthier.types.errors import LuthierError, UnavailableError

UNAVAILABLE = "blob_store_unavailable"  # error code if the object store does not answer or rejects a request
_PART_BYTES = 8 << 20  # of multipart uploads; four are in flight at a time
_PARTS_AT_ONCE = 4
_SWEEP_EVERY_S = 3600.0
_RETRY: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=60)}
_ERROR_CODE = re.compile(r"<Code>(\w{1,64})</Code>")


class BucketObject(NamedTuple):
    """`modified_at`: Unix seconds, by the clock of the object store."""

    key: str
    bytes: int
    modified_at: float


class Bucket:
    """Objects by key. A key is written once, so that a copy of its object stays right.

    Every method raises UnavailableError if the object store does not answer or rejects the request.
    """

    def __init__(self, url: str, client: Any) -> None:
        """`client`: a store of obstore."""
        self.url, self._client = url, client
        self._listed_at: dict[str, float] = {}

    @classmethod
    def open(cls, url: str) -> "Bucket":
        """`url` such as `s3://bucket/prefix`, `gs://…` or `az://…`. Raises LuthierError."""
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise LuthierError(
                say(
                    f"Blobs in {url} need the package obstore: pip install 'luthier[s3]'",
                    f"把数据存放在 {url} 需要 obstore 包：pip install 'luthier[s3]'",
                )
            ) from error
        # A self-hosted server may be reached without TLS, but only if its URL says so.
        is_plain = any(os.environ.get(name, "").startswith("http://") for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
        try:
            client = from_url(url, client_options={"allow_http": is_plain}, retry_config=_RETRY)
        except (BaseError, ValueError) as error:
            reason = _reason(error)
            raise LuthierError(say(f"{url} cannot be used: {reason}", f"无法使用 {url}：{reason}")) from None
        return cls(url, client)

    def put(self, key: str, path: Path) -> None:
        """Upload a file in parts, so that memory does not grow with its size."""
        with self._errors(f"store {key}"):
            self._client.put(key, path, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
            stored: int = self._client.head(key)["size"]
        if stored != path.stat().st_size:
            raise UnavailableError(f"{self.url} kept {stored:,} bytes of the {path.stat().st_size:,} bytes of {key}.")

    def put_bytes(self, key: str, content: bytes) -> None:
        with self._errors(f"store {key}"):
            self._client.put(key, content)

    def chunks(self, key: str) -> Iterator[bytes]:
        """Raises FileNotFoundError."""
        with self._errors(f"read {key}"):
            for chunk in self._client.get(key).stream():
                yield bytes(chunk)

    def read(self, key: str) -> bytes:
        """Raises FileNotFoundError."""
        return b"".join(self.chunks(key))

    def content(self, key: str) -> Content:
        """Read an object and return its size and checksum, without storing it. Raises FileNotFoundError."""
        digest = Digest()
        for chunk in self.chunks(key):
            digest.add(chunk)
        return digest.content()

    def fetch(self, key: str, target: Path) -> Content:
        """Downloads to `target`, which appears complete or not at all. Raises FileNotFoundError."""
        digest = Digest()
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as out:
                for chunk in self.chunks(key):
                    digest.add(chunk)
                    out.write(chunk)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return digest.content()

    def list(self, prefix: str) -> Iterator[BucketObject]:
        """The objects whose keys begin with `prefix` and a slash."""
        with self._errors(f"list {prefix}"):
            for page in self._client.list(prefix):
                for entry in page:
                    yield BucketObject(entry["path"], entry["size"], entry["last_modified"].timestamp())

    def list_hourly(self, prefix: str) -> Iterator[BucketObject]:
        """Like `list`, for frequent sweeps: yields nothing within an hour of the last call."""
        if time.monotonic() - self._listed_at.get(prefix, -math.inf) > _SWEEP_EVERY_S:
            self._listed_at[prefix] = time.monotonic()
            yield from self.list(prefix)

    def has(self, key: str) -> bool:
        try:
            with self._errors(f"find {key}"):
                self._client.head(key)
        except FileNotFoundError:
            return False
        return True

    def delete(self, *keys: str) -> None:
        """Keys without an object are skipped."""
        for key in keys:
            try:
                with self._errors(f"delete {key}"):
                    self._client.delete(key)
            except FileNotFoundError:
                continue

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        from obstore.exceptions import BaseError, NotFoundError

        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.url}: could not {action}: no such object") from error
        except BaseError as error:
            message = f"{self.url} could not {action}: {_reason(error)}"
            raise UnavailableError(message, code=UNAVAILABLE) from None


def _reason(error: Exception) -> str:
    """The error's first line and the object store's code. Its body is left out: it may repeat a signature."""
    text = str(error)
    code = _ERROR_CODE.search(text)
    first = text.partition("<")[0].partition("\n")[0].strip()[:300]
    return f"{first} {code[1]}" if code else first
