"""Projects: what files, jobs and models belong to, and who asks for them. Knows nothing about keys or HTTP."""

import re
from dataclasses import dataclass

DEFAULT_PROJECT = "default"
PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Caller:
    """Who asks. `project`: the one whose objects are seen and made, None for the whole organization's, whose new
    objects belong to the default project; `admin`: whether checkpoint permissions may be managed.
    """

    project: str | None = None
    admin: bool = True
