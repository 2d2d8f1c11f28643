"""Uploaded files that requests name as their input."""

from luthier.server.state import State
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.files import FileObject


def require_file(state: State, file_id: str, param: str, purposes: tuple[str, ...], requirement: str) -> FileObject:
    """The file, if it has one of the purposes; `requirement` completes the error about its purpose.

    Raises BadRequestError.
    """
    try:
        file = state.store.files.retrieve(file_id)
    except NotFoundError:
        raise BadRequestError(f"invalid {param}: {file_id}", param=param) from None
    if file.purpose not in purposes:
        message = f"File '{file_id}' has purpose '{file.purpose}'; {requirement}."
        raise BadRequestError(message, param=param)
    return file
