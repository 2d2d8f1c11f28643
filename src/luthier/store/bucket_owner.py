"""Which bucket a database keeps its blobs in, and which database a bucket belongs to.

Blobs without a row are deleted after a day, so two databases in one bucket would delete each other's. An object holds
the id of the database that the bucket belongs to. The first time, what the data folder has is uploaded.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Column, Table, insert, select, update

from luthier.language import say
from luthier.store.bucket import Bucket
from luthier.store.checksums import record_checksum
from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.content import Content
from luthier.store.database import Database, files, metadata, models
from luthier.types.common import new_id
from luthier.types.errors import LuthierError

_log = logging.getLogger(__name__)
_OWNER = "luthier.json"

bucket_owner = Table(
    "bucket_owner",
    metadata,
    Column("seq", Int64, primary_key=True),  # always 1
    Column("id", short_text(64), nullable=False),
    Column("url", LongText, nullable=False),
)


def bucket_url(database: Database) -> str | None:
    """The bucket that holds the blobs; None for a data folder that holds them itself."""
    with database.read() as connection:
        return connection.scalar(select(bucket_owner.c.url))


def require_folder(database: Database, data: Path) -> None:
    """Raises LuthierError for a data folder whose blobs are in a bucket."""
    url = bucket_url(database)
    if url:
        raise LuthierError(
            say(
                f"The files and models of {data} are in {url}. Set LUTHIER_BLOBS={url}, or blobs in the config file.",
                f"{data} 的文件和模型存放在 {url}。请设置 LUTHIER_BLOBS={url}，或在配置文件中设置 blobs。",
            )
        )


def claim_bucket(database: Database, bucket: Bucket, data: Path) -> None:
    """Makes `bucket` that of the database. Raises LuthierError for a bucket of another one, UnavailableError."""
    with database.read() as connection:
        row = connection.execute(select(bucket_owner)).first()
    try:
        owner = json.loads(bucket.read(_OWNER))["id"]
    except FileNotFoundError:
        owner = None
    if owner is not None and (row is None or row.id != owner):
        raise LuthierError(
            say(
                f"{bucket.url} belongs to another Luthier. Add a path of its own to the address, such as "
                f"{bucket.url.rstrip('/')}/second.",
                f"{bucket.url} 属于另一个 Luthier。请在地址后加上单独的路径，例如 {bucket.url.rstrip('/')}/second。",
            )
        )
    if row is not None and row.url != bucket.url and owner is None:
        raise LuthierError(
            say(
                f"{bucket.url} is empty; the files and models of {data} are in {row.url}. Copy all objects first.",
                f"{bucket.url} 是空的；{data} 的文件和模型存放在 {row.url}。请先复制所有对象。",
            )
        )
    if row is None:
        with database.write() as connection:
            connection.execute(insert(bucket_owner).values(seq=1, id=new_id("store_"), url=bucket.url))
    elif row.url != bucket.url:
        with database.write() as connection:
            connection.execute(update(bucket_owner).values(url=bucket.url))
    if owner is None:
        _upload(database, bucket, data)
        with database.read() as connection:
            owner = connection.scalar(select(bucket_owner.c.id))
        bucket.put_bytes(_OWNER, json.dumps({"id": owner}).encode())


def _upload(database: Database, bucket: Bucket, data: Path) -> None:
    """What the data folder holds. Models of releases that kept no checksums get them."""
    paths = list(_blobs(database, data))
    if paths:
        _log.info("%d files of %s are uploaded to %s", len(paths), data, bucket.url)
    for path in paths:
        key = path.relative_to(data).as_posix()
        bucket.put(key, path)
        if not key.startswith("uploads/"):
            with database.write() as connection:
                record_checksum(connection, key, Content.of(path))


def _blobs(database: Database, data: Path) -> Iterator[Path]:
    with database.read() as connection:
        file_ids, folders = connection.scalars(select(files.c.id)).all(), connection.scalars(select(models.c.adapter))
        model_folders = [data / "models" / name for name in folders]
    for file_id in file_ids:
        yield from (data / "files").glob(f"{file_id}*")
    yield from (path for path in (data / "uploads").glob("[!.]*") if path.is_file())
    for folder in model_folders:
        yield from (path for path in folder.rglob("*") if path.is_file())
