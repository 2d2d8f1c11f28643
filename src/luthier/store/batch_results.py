"""Results of a batch so far, in an append-only file: a line is written once its request has a response.

After a crash no request with a result is sent again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class _Position:
    offset: int
    size_bytes: int
    succeeded: bool


class BatchResults:
    """Memory holds the position of each result in the file, not the result.

    `completed` and `failed` count results; `usage` sums their token counts.
    """

    def __init__(self, path: Path) -> None:
        """Read the existing file; a truncated last line, left by a crash, is removed."""
        self._positions: dict[int, _Position] = {}
        self.usage: dict[str, int] = {}
        self.completed = self.failed = 0
        path.touch()
        self._file = path.open("r+b")
        end = 0
        for raw in self._file:
            if not raw.endswith(b"\n"):
                break
            self._index(json.loads(raw), end, len(raw))
            end += len(raw)
        self._file.truncate(end)

    def add(self, line: int, *, succeeded: bool, usage: dict[str, int], result: dict[str, Any]) -> None:
        """Append the result of line `line` of the input."""
        entry = {"line": line, "good": succeeded, "usage": usage, "result": result}
        raw = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        offset = self._file.seek(0, 2)
        self._file.write(raw)
        self._file.flush()
        self._index(entry, offset, len(raw))

    def _index(self, entry: dict[str, Any], offset: int, size_bytes: int) -> None:
        self._positions[entry["line"]] = _Position(offset, size_bytes, entry["good"])
        self.completed += entry["good"]
        self.failed += not entry["good"]
        for key, count in entry["usage"].items():
            self.usage[key] = self.usage.get(key, 0) + count

    def __contains__(self, line: int) -> bool:
        return line in self._positions

    def succeeded(self, line: int) -> bool:
        return self._positions[line].succeeded

    def read(self, line: int) -> dict[str, Any]:
        position = self._positions[line]
        self._file.seek(position.offset)
        result: dict[str, Any] = json.loads(self._file.read(position.size_bytes))["result"]
        return result

    def close(self) -> None:
        self._file.close()
