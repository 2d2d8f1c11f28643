"""Size limits of request bodies by path."""

import re

PART_BYTES = 64 * 1024 * 1024  # of one part of an upload
_JSON_BYTES = 32 * 1024 * 1024
_FORM_BYTES = 64 * 1024  # a multipart body's fields and boundaries, beside its file
_FILES, _PARTS = re.compile("/v1/files"), re.compile("/v1/uploads/[^/]+/parts")


def accepts_file(path: str) -> bool:
    """Whether a body sent to `path` may contain a file, and so exceed the size that is buffered in memory."""
    return bool(_FILES.fullmatch(path) or _PARTS.fullmatch(path))


def body_limit_bytes(path: str, max_file_bytes: int) -> int:
    """The largest body for `path`: a form with a file if one is accepted, otherwise JSON."""
    if not accepts_file(path):
        return _JSON_BYTES
    return _FORM_BYTES + (PART_BYTES if _PARTS.fullmatch(path) else max_file_bytes)
