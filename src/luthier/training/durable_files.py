"""Files and folders that survive a power cut: they are either complete or absent."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from luthier.types.durable_text import rename_durably

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")  # errno in the messages of Rust


def flush(path: Path) -> None:
    """fsync a file, so that a rename that survives a power cut does not point to an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into; at the end its files are flushed and it replaces `folder`."""
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    for file in new.iterdir():
        flush(file)
    shutil.rmtree(folder, ignore_errors=True)
    rename_durably(new, folder)


def write_safetensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Raises OSError."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # raised for a full disk, too
        number = _SYSTEM_ERROR.search(str(error))
        if number is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
