"""Many texts joined into one string: one search over a thousand texts costs a tenth of a thousand searches."""

import re
from functools import cached_property

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality import byte_classes

SEPARATOR = "\0"


class JoinedTexts:
    """Texts in one string, each with `SEPARATOR` before it; maps positions in the string back to texts."""

    def __init__(self, texts: list[str]) -> None:
        self.text = SEPARATOR + SEPARATOR.join(texts)
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @cached_property
    def utf8(self) -> bytes:
        """`text` in UTF-8."""
        return self.text.encode("utf-8", "surrogatepass")

    @property
    def has_separators_inside(self) -> bool:
        """Whether any text contains `SEPARATOR` itself."""
        return len(self._zero_bytes) > len(self._texts)

    @cached_property
    def classes(self) -> npt.NDArray[np.uint8]:
        """The class of every byte of `utf8`: bits of `byte_classes`."""
        return np.frombuffer(self.utf8.translate(byte_classes.TABLE), dtype=np.uint8)

    @cached_property
    def all_classes(self) -> int:
        """The classes of all bytes, combined by OR."""
        return int(np.bitwise_or.reduce(self.classes))

    @cached_property
    def code_points(self) -> npt.NDArray[np.uint32]:
        """uint32 [characters]: the code points of `text`."""
        return np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)

    def matching(self, pattern: re.Pattern[str]) -> set[int]:
        """Indices of the texts in which the pattern matches; a match may begin at the separator before a text."""
        return self.at([match.start() for match in pattern.finditer(self.text)])

    def at(self, positions: npt.ArrayLike) -> set[int]:
        """Indices of the texts at these positions of `text`."""
        return _indices(self.starts, positions)

    def at_utf8(self, positions: npt.ArrayLike) -> set[int]:
        """Indices of the texts at these positions of `utf8`."""
        return _indices(self._utf8_starts, positions)

    def of_at_most(self, utf8_bytes: int) -> set[int]:
        """Indices of the texts that have at most `utf8_bytes` bytes in UTF-8."""
        lengths = np.diff(self._utf8_starts, append=len(self.utf8)) - len(SEPARATOR)
        return set(np.flatnonzero(lengths <= utf8_bytes).tolist())

    @cached_property
    def starts(self) -> npt.NDArray[np.intp]:
        """The position of the separator before each text."""
        sizes = np.fromiter(map(len, self._texts), np.intp, len(self._texts)) + len(SEPARATOR)
        starts: npt.NDArray[np.intp] = np.cumsum(sizes) - sizes
        return starts

    @cached_property
    def _zero_bytes(self) -> npt.NDArray[np.intp]:
        """The positions of `SEPARATOR` in `utf8`."""
        return np.flatnonzero(np.frombuffer(self.utf8, dtype=np.uint8) == 0)

    @cached_property
    def _utf8_starts(self) -> npt.NDArray[np.intp]:
        if not self.has_separators_inside:
            return self._zero_bytes
        return np.cumsum([0, *(len(text.encode("utf-8", "surrogatepass")) + 1 for text in self._texts[:-1])])


def _indices(starts: npt.NDArray[np.intp], positions: npt.ArrayLike) -> set[int]:
    places = np.asarray(positions, dtype=np.intp)
    if not places.size:
        return set()
    texts = np.searchsorted(starts, places, side="right") - 1
    return set(texts[np.diff(texts, prepend=-1) != 0].tolist())
