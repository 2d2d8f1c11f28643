"""What the server acknowledged: a JSON line per fact, written before the client goes on."""

import json
import threading
from pathlib import Path
from typing import Any


class Ledger:
    """Thread-safe. `kind`: what was acknowledged, such as `file`; `attempts`: requests until the answer came."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()

    def record(self, kind: str, **facts: Any) -> None:
        line = json.dumps({"kind": kind, **facts})
        with self._lock, self.path.open("a", encoding="utf-8") as out:
            out.write(line + "\n")

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
