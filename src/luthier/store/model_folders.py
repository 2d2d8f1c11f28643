"""The folders of models below `models/`, each with an adapter or a complete model; they are never modified.

A bucket has every file under the same name, and this machine has copies of the models that it trained or used.
"""

import shutil
import tempfile
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from luthier.store.blobs import mark_used
from luthier.store.bucket import Bucket
from luthier.store.checksums import recorded_contents
from luthier.store.content import Content, contents
from luthier.store.database import Database
from luthier.types.common import now
from luthier.types.durable_text import rename_durably
from luthier.types.errors import CorruptDataError, UnavailableError

MODELS = "models"  # the folder, and the prefix in a bucket
_ORPHAN_AGE_S = 24 * 3600


class ModelFolders:
    def __init__(self, database: Database, folder: Path, bucket: Bucket | None) -> None:
        self._database, self._folder, self._bucket = database, folder, bucket
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """The path of the model on this machine, whether or not it exists."""
        return self._folder / name

    def move_in(self, source: Path, name: str) -> dict[str, Content]:
        """Move the folder `source` to `name` and return its files. If `source` is missing, an earlier run has moved
        it."""
        target = self._folder / name
        if not source.exists():
            return contents(target)
        written = contents(source)
        if self._bucket:  # first, since a crash in between leaves the source, and the next run repeats this
            for path in written:
                self._bucket.put(f"{MODELS}/{name}/{path}", source / path)
        shutil.rmtree(target, ignore_errors=True)
        rename_durably(source, target)
        return written

    def make_local(self, name: str) -> None:
        """Download a model from the bucket if it is not on this machine; it appears complete or not at all.

        Raises CorruptDataError if the content in the bucket differs from what was written.
        """
        target = self._folder / name
        if self._bucket is None:
            return
        if target.exists():
            mark_used(target)
            return
        with self._database.read() as connection:
            recorded = recorded_contents(connection, f"{MODELS}/{name}")
        if not recorded:  # deleted meanwhile
            return
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as temporary:
            partial = Path(temporary) / name
            for path, content in recorded.items():
                self._fetch(path, partial / path.removeprefix(f"{MODELS}/{name}/"), content)
            if not target.exists():
                try:
                    partial.rename(target)
                except OSError:
                    if not target.exists():  # otherwise another thread was faster
                        raise

    def _fetch(self, key: str, target: Path, content: Content) -> None:
        assert self._bucket is not None  # noqa: S101 - checked by the caller
        try:
            intact = self._bucket.fetch(key, target) == content
        except FileNotFoundError:
            intact = False
        if not intact:
            raise CorruptDataError(
                f"{key} in {self._bucket.url} is missing or does not match its checksum. Restore the object, or train "
                "the model again."
            )

    def delete(self, name: str) -> None:
        shutil.rmtree(self._folder / name, ignore_errors=True)
        if self._bucket:
            with suppress(UnavailableError):  # then it is an orphan
                self._bucket.delete(*[entry.key for entry in self._bucket.list(f"{MODELS}/{name}")])

    def old_checkpoints(self) -> set[str]:
        """Folders named by `Models.add_checkpoint`, here and in the bucket, that are at least a day old."""
        modified = {path.name: path.stat().st_mtime for path in self._folder.iterdir()}
        for entry in self._bucket.list_hourly(MODELS) if self._bucket else ():
            modified.setdefault(entry.key.removeprefix(f"{MODELS}/").partition("/")[0], entry.modified_at)
        before = now() - _ORPHAN_AGE_S
        return {name for name, time in modified.items() if fnmatch(name, "ftjob-*-step-*") and time < before}
