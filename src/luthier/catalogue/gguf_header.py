"""What a GGUF file says of itself, read before it is converted."""

from pathlib import Path
from typing import Any, NamedTuple

from luthier.language import say
from luthier.types.errors import BaseModelError


class GgufHeader(NamedTuple):
    """`licence`: empty where the file does not say."""

    parameters: int
    licence: str


def read_header(file: Path) -> GgufHeader:
    """Raises BaseModelError for a file that is not GGUF, or is damaged."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        field: Any = reader.get_field("general.license")
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
        return GgufHeader(parameters, str(field.contents()) if field else "")
    except Exception as error:  # the reader checks little, so a damaged header may end in any exception of NumPy's
        cause = str(error) or type(error).__name__
        raise BaseModelError(
            say(f"{file.name} is not a readable GGUF file: {cause}", f"{file.name} 不是可读的 GGUF 文件：{cause}")
        ) from error
