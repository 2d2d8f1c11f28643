"""The keys that a server accepts: those of its settings, its managed keys, and one for commands on its own machine.

A managed key that is revoked, in this process or another, is rejected within two seconds: a key that was read from the
database is cached for that long, then a thread reads it again. The event loop never waits for the database.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from luthier.store.api_keys import ApiKeys, StoredKey
from luthier.types.projects import Caller

_TRUSTED_S = 2.0  # how long the database's answer about a key stays valid


class KeyCheck(NamedTuple):
    """`is_required`: whether requests need a key. `caller`: the sender of this request; None if its key is rejected."""

    is_required: bool
    caller: Caller | None


@dataclass
class _Memory:
    """Cached results of the database, each with the time of reading: keys by secret, and whether there are any keys."""

    keys: dict[str, tuple[float, StoredKey]] = field(default_factory=dict)
    has_any: tuple[float, bool] | None = None


@dataclass
class KeyRing:
    """The keys that a server accepts.

    Attributes:
        configured: The keys of the settings, with their projects; None: the whole organization.
        managed: The managed keys in the database.
        local: The key in the data folder's address file; it alone does not make other requests need a key.
        is_reachable: Whether other machines can reach the server; then requests need a key even if the last one was
            revoked.
    """

    configured: Mapping[str, str | None]
    managed: ApiKeys
    local: str | None = None
    is_reachable: bool = False
    _memory: _Memory = field(default_factory=_Memory)

    async def check(self, secret: str) -> KeyCheck:
        """Checks the key of a request; "" for a request without one. Raises the errors of the store."""
        remembered = self._remembered(secret)
        return await run_in_threadpool(self._read, secret) if remembered is None else remembered

    def is_required(self) -> bool:
        """Whether requests need a key. May read the database, so it is for worker threads."""
        memory = self._memory
        required = self._requirement(memory)
        if required is None:
            read_at, required = time.monotonic(), self.managed.has_any()
            memory.has_any = (read_at, required)
        return required

    def forget(self) -> None:
        """Clears the cache, so that a change of keys in this process takes effect at once, even if a thread is reading
        keys.
        """
        self._memory = _Memory()

    def _remembered(self, secret: str) -> KeyCheck | None:
        """The result from the cache; None if the database must be read."""
        required = self._requirement(self._memory)
        if required is None:
            return None
        check = self._answer(required, secret, self._recall)
        return check if check.caller or not (required and secret) else None

    def _read(self, secret: str) -> KeyCheck:
        return self._answer(self.is_required(), secret, self._find)

    def _answer(self, required: bool, secret: str, find: Callable[[str], StoredKey | None]) -> KeyCheck:
        """The result for a secret. `find`: returns the managed key with that secret."""
        if not (required and secret):
            return KeyCheck(required, None)
        caller = self._of_settings(secret)
        if caller is None and (key := find(secret)):
            caller = _caller_of(key, secret)
        return KeyCheck(required, caller)

    def _requirement(self, memory: _Memory) -> bool | None:
        if self.configured or self.is_reachable:
            return True
        if memory.has_any is None or time.monotonic() - memory.has_any[0] >= _TRUSTED_S:
            return None
        return memory.has_any[1]

    def _of_settings(self, secret: str) -> Caller | None:
        """Compares every key in constant time, so that the duration of a request reveals nothing."""
        projects = {**self.configured, **({self.local: None} if self.local else {})}
        matches = [key for key in projects if hmac.compare_digest(secret.encode("latin-1", "replace"), key.encode())]
        if not matches:
            return None
        project = projects[matches[0]]
        return Caller(project=project, admin=project is None, key_digest=_digest(secret))

    def _recall(self, secret: str) -> StoredKey | None:
        read_at, key = self._memory.keys.get(secret, (0.0, None))
        return key if key and key.is_valid and time.monotonic() - read_at < _TRUSTED_S else None

    def _find(self, secret: str) -> StoredKey | None:
        memory, read_at = self._memory, time.monotonic()
        key = self.managed.find(secret)
        if key is None:
            memory.keys.pop(secret, None)
        else:  # only keys that exist are remembered, so there are no more entries than keys
            memory.keys[secret] = (read_at, key)
        return key


def _caller_of(key: StoredKey, secret: str) -> Caller:
    return Caller(
        project=key.project,
        admin=key.role == "admin",
        read_only=key.role == "reader",
        key_id=key.id,
        key_digest=_digest(secret),
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        max_jobs=key.max_jobs,
        max_bytes=key.max_bytes,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
