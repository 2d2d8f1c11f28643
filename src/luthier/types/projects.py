"""Projects, which own files, jobs and models, and the caller of a request."""

import re
from dataclasses import dataclass

DEFAULT_PROJECT = "default"
PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Caller:
    """The authenticated caller of a request.

    `project`: scope of all reads and writes; None: the whole organization, whose new objects belong to the default
    project. `admin`: may manage checkpoint permissions.
    """

    project: str | None = None
    admin: bool = True
