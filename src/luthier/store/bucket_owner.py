"""Which bucket a database keeps its blobs in, and which database a bucket belongs to.

Blobs without a row are deleted after a day, so two databases in one bucket would delete each other's. An object holds
the id of the database that the bucket belongs to. The first time, the contents of the data folder are uploaded.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Column, Connection, Table, insert, select, update

from luthier.language import say
from luthier.store.blobs import FILES, UPLOADS
from luthier.store.bucket import Bucket
from luthier.store.checksums import record_checksum, recorded_contents
from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.content import Content
from luthier.store.database import Database, files, metadata, models
from luthier.store.model_folders import MODELS
from luthier.types.errors import LuthierError
from luthier.types.ids import new_id

_log = logging.getLogger(__name__)
_OWNER = "luthier.json"

bucket_owner = Table(
    "bucket_owner",
    metadata,
    Column("seq", Int64, primary_key=True),  # always 1
    Column("id", short_text(64), nullable=False),
    Column("url", LongText, nullable=False),
)


def require_folder(database: Database, data: Path) -> None:
    """Raises LuthierError for a data folder whose blobs are in a bucket."""
    with database.read() as connection:
        url = connection.scalar(select(bucket_owner.c.url))
    if url:
        raise LuthierError(
            say(
                f"The files and models of {data} are in {url}. Set LUTHIER_BLOBS={url}, or blobs in the config file.",
                f"{data} 的文件和模型存放在 {url}。请设置 LUTHIER_BLOBS={url}，或在配置文件中设置 blobs。",
            )
        )


def claim_bucket(database: Database, bucket: Bucket, data: Path) -> None:
    """Assign `bucket` to the database. Raises LuthierError for a bucket of another database; UnavailableError."""
    with database.read() as connection:
        row = connection.execute(select(bucket_owner)).first()
    try:
        owner = json.loads(bucket.read(_OWNER))["id"]
    except FileNotFoundError:
        owner = None
    if owner is not None and (row is None or row.id != owner):
        raise LuthierError(
            say(
                f"{bucket.url} belongs to another Luthier installation. Add a separate path to the URL, such as "
                f"{bucket.url.rstrip('/')}/second.",
                f"{bucket.url} 属于另一个 Luthier 安装。请在地址后加上单独的路径，例如 "
                f"{bucket.url.rstrip('/')}/second。",
            )
        )
    if row is not None and row.url != bucket.url and owner is None:
        raise LuthierError(
            say(
                f"{bucket.url} is empty; the files and models of {data} are in {row.url}. Copy all objects first.",
                f"{bucket.url} 是空的；{data} 的文件和模型存放在 {row.url}。请先复制所有对象。",
            )
        )
    with database.write() as connection:
        database_id = _database_id(connection, bucket.url)
    if owner is None:
        _upload(database, bucket, data)
        bucket.put_bytes(_OWNER, json.dumps({"id": database_id}).encode())


def _database_id(connection: Connection, url: str) -> str:
    """Return the id of the database in buckets, and store the URL of its bucket."""
    database_id: str | None = connection.scalar(select(bucket_owner.c.id))
    if database_id is None:
        database_id = new_id("store_")
        connection.execute(insert(bucket_owner).values(seq=1, id=database_id, url=url))
    connection.execute(update(bucket_owner).values(url=url))
    return database_id


def _upload(database: Database, bucket: Bucket, data: Path) -> None:
    """Upload the contents of the data folder. Models of releases without checksums get them."""
    paths = list(_blobs(database, data))
    if paths:
        _log.info("%d files of %s are uploaded to %s", len(paths), data, bucket.url)
    for path in paths:
        key = path.relative_to(data).as_posix()
        bucket.put(key, path)
        if key.startswith(f"{MODELS}/"):
            with database.write() as connection:
                if not recorded_contents(connection, key):
                    record_checksum(connection, key, Content.of(path))


def _blobs(database: Database, data: Path) -> Iterator[Path]:
    with database.read() as connection:
        file_ids, folders = connection.scalars(select(files.c.id)).all(), connection.scalars(select(models.c.adapter))
        model_folders = [data / MODELS / name for name in folders]
    for file_id in file_ids:
        yield from (data / FILES).glob(f"{file_id}*")  # with its report
    yield from (path for path in (data / UPLOADS).glob("[!.]*") if path.is_file())
    for folder in model_folders:
        yield from (path for path in folder.rglob("*") if path.is_file())
