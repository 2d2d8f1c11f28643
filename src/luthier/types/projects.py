"""Projects, which own files, jobs and models, and the caller of a request."""

import re
from dataclasses import dataclass
from typing import Literal

DEFAULT_PROJECT = "default"
PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
Role = Literal["admin", "member", "reader"]


@dataclass(frozen=True)
class Caller:
    """The authenticated caller of a request.

    Attributes:
        project: Scope of all reads and writes; None: the whole organization, whose new objects belong to the default
            project.
        admin: May manage keys and checkpoint permissions, and read metrics and the audit log.
        read_only: May change and generate nothing.
        key_id: Of a managed key; None for one of the settings, and without keys.
        key_digest: SHA-256 of the key, under which its requests are counted; empty where none is required.
        requests_per_minute, tokens_per_minute: Limits of the key; None: those of the settings.
        max_jobs, max_bytes: Limits of the key on its unfinished jobs and on the bytes of its files; None: no limit.
    """

    project: str | None = None
    admin: bool = True
    read_only: bool = False
    key_id: str | None = None
    key_digest: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_jobs: int | None = None
    max_bytes: int | None = None
