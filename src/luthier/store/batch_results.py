"""Results of a batch as they come, on disk: a line is written once its request is answered, so that no request is
answered twice, whatever happens to the server. Knows nothing about what a result says.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class _Place:
    offset: int
    size_bytes: int
    good: bool


class Journal:
    """Of the results themselves only their places are in memory."""

    def __init__(self, path: Path) -> None:
        """Reads what is there; half a line at the end, of a server that died while writing, is cut off."""
        self._places: dict[int, _Place] = {}
        self.usage: dict[str, int] = {}
        self.good = self.bad = 0  # lines that were answered well, and not
        path.touch()
        self._file = path.open("r+b")
        end = 0
        for raw in self._file:
            if not raw.endswith(b"\n"):
                break
            self._take_in(json.loads(raw), end, len(raw))
            end += len(raw)
        self._file.truncate(end)

    def add(self, line: int, *, good: bool, usage: dict[str, int], result: dict[str, Any]) -> None:
        """`line` of the input was answered: well (`good`) or with an error."""
        entry = {"line": line, "good": good, "usage": usage, "result": result}
        raw = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        offset = self._file.seek(0, 2)
        self._file.write(raw)
        self._file.flush()
        self._take_in(entry, offset, len(raw))

    def _take_in(self, entry: dict[str, Any], offset: int, size_bytes: int) -> None:
        self._places[entry["line"]] = _Place(offset, size_bytes, entry["good"])
        self.good += entry["good"]
        self.bad += not entry["good"]
        for key, count in entry["usage"].items():
            self.usage[key] = self.usage.get(key, 0) + count

    def __contains__(self, line: int) -> bool:
        return line in self._places

    def is_good(self, line: int) -> bool:
        return self._places[line].good

    def result(self, line: int) -> dict[str, Any]:
        place = self._places[line]
        self._file.seek(place.offset)
        found: dict[str, Any] = json.loads(self._file.read(place.size_bytes))["result"]
        return found

    def close(self) -> None:
        self._file.close()
