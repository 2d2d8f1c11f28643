"""Uploads the resume state of a running job whenever its trainer has saved it, so that any worker can continue the
job."""

import logging
import threading
from pathlib import Path
from types import TracebackType

from luthier.store import Job, Store
from luthier.store.job_states import state_version

_log = logging.getLogger(__name__)
_POLL_S = 1.0


class StateUploads:
    """While entered, watches a job folder; does nothing for a store without a bucket.

    A failed upload is repeated with the next state. On exit, the last state is uploaded.
    """

    def __init__(self, job: Job, store: Store, folder: Path) -> None:
        self._job, self._states, self._folder = job, store.job_states, folder
        self._left = threading.Event()
        self._uploaded = state_version(folder)
        self._thread = threading.Thread(target=self._watch, name="luthier-states", daemon=True)

    def __enter__(self) -> "StateUploads":
        if self._states.are_kept:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left.set()
        if self._states.are_kept:
            self._thread.join()
            self._upload()

    def _watch(self) -> None:
        while not self._left.wait(_POLL_S):
            self._upload()

    def _upload(self) -> None:
        version = state_version(self._folder)
        if version == self._uploaded:
            return
        try:
            if not self._states.save(self._job.id, self._job.fencing_token, self._folder):
                _log.warning("the state of %s is not uploaded: another worker has the job", self._job.id)
            self._uploaded = version
        except Exception:  # training matters more
            _log.exception("the state of %s could not be uploaded", self._job.id)
