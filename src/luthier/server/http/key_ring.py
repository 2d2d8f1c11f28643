"""The keys that a server accepts: those of its settings, those it manages, and one for commands on its own machine.

A managed key that is revoked, in this process or another, is refused after two seconds at the latest.
"""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.store.api_keys import ApiKeys, StoredKey
from luthier.types.projects import Caller

_TRUSTED_S = 2.0  # how long what the database says of a key holds


@dataclass
class KeyRing:
    """`configured`: keys of the settings with their projects, None for the whole organization. `local`: the key in the
    data folder's address file; it asks for no keys by itself. `is_reachable`: by other machines, so that requests need
    a key even when the last one was revoked.
    """

    configured: Mapping[str, str | None]
    managed: ApiKeys
    local: str | None = None
    is_reachable: bool = False
    _callers: dict[str, tuple[float, StoredKey]] = field(default_factory=dict)
    _any_managed: tuple[float, bool] = (0.0, False)

    def is_required(self) -> bool:
        """Whether requests need a key."""
        return bool(self.configured) or self.is_reachable or self._has_managed()

    def caller_of(self, secret: str) -> Caller | None:
        """Who sends this key; None for a key that is not accepted."""
        projects = {**self.configured, **({self.local: None} if self.local else {})}
        # Compares every key in constant time, so that the duration of a request reveals nothing.
        matches = [key for key in projects if hmac.compare_digest(secret.encode("latin-1", "replace"), key.encode())]
        if matches:
            project = projects[matches[0]]
            return Caller(project=project, admin=project is None)
        key = self._find(secret)
        if key is None:
            return None
        return Caller(
            project=key.project,
            admin=key.role == "admin",
            read_only=key.role == "reader",
            key_id=key.id,
            requests_per_minute=key.requests_per_minute,
            tokens_per_minute=key.tokens_per_minute,
            max_jobs=key.max_jobs,
            max_bytes=key.max_bytes,
        )

    def forget(self) -> None:
        """After a change of keys in this process, which then holds at once."""
        self._callers.clear()
        self._any_managed = (0.0, False)

    def _find(self, secret: str) -> StoredKey | None:
        checked_at, key = self._callers.get(secret, (0.0, None))
        if key is not None and time.monotonic() - checked_at < _TRUSTED_S and key.is_valid:
            return key
        key = self.managed.find(secret)
        if key is None:
            self._callers.pop(secret, None)
        else:  # only keys that exist are cached, so there are no more entries than keys
            self._callers[secret] = (time.monotonic(), key)
        return key

    def _has_managed(self) -> bool:
        checked_at, any_managed = self._any_managed
        if not checked_at or time.monotonic() - checked_at > _TRUSTED_S:
            any_managed = self.managed.has_any()
            self._any_managed = (time.monotonic(), any_managed)
        return any_managed
