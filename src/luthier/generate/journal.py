"""The journal beside the output: every request that was sent, and every reply that was paid for.

Replies are on disk before they are used, so a run that was killed resumes without paying for anything twice. The key of
a request is a hash of everything that determines its reply. The file is an SQLite database in WAL mode, flushed at
every commit.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from luthier.generate.budget import Price
from luthier.generate.errors import JournalError, OptionsError
from luthier.generate.reply_text import has_thinking_mark, split_reasoning
from luthier.language import say

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, slot TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,  -- the worst case until answered
    outcome TEXT NOT NULL,  -- sent, answered, refused (not billed) or lost (may have been billed)
    reply TEXT,
    prompt_price REAL, completion_price REAL  -- dollars per million tokens when it was sent; NULL if not known
);
CREATE INDEX IF NOT EXISTS answered ON requests (key) WHERE outcome = 'answered';
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """A request to a model. `slot` states its purpose; equal messages for two slots are two requests.

    The field names are part of `key`: renaming one would make the journals of earlier versions useless.
    """

    slot: str
    messages: tuple[dict[str, str], ...]
    max_tokens: int
    temperature: float = 0.7
    schema: dict[str, Any] | None = None

    def key(self, model: str) -> str:
        canonical = json.dumps([model, asdict(self)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TeacherReply:
    """A reply of a model. The field names are keys in the journal.

    Attributes:
        text: The text as received, including a thinking block inside it.
        from_journal: Whether an earlier run paid for it.
        reasoning: Thinking that the service returned separately from the text.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    refusal: str | None = None
    from_journal: bool = False
    reasoning: str | None = None

    @property
    def words(self) -> str:
        """The text without its thinking block."""
        return split_reasoning(self.text)[1]

    @property
    def thinks_aloud(self) -> bool:
        return bool(self.reasoning) or has_thinking_mark(self.text)

    @property
    def teacher_said(self) -> str:
        """Thinking and text, as the rejects file shows them."""
        return f"<think>{self.reasoning}</think>\n{self.text}" if self.reasoning else self.text


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Tokens, outcome and price of a request that was sent."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    outcome: str
    price: Price | None


class Journal:
    """The journal of an output file, open in one run at a time.

    Raises:
        OptionsError: Another run has it open, or the file is not a journal.
        JournalError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OptionsError(
                say(
                    f"Another run is writing {path}. Wait for it, or choose another --out.",
                    f"另一个运行正在写 {path}。请等它结束，或换一个 --out。",
                )
            ) from None
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            self._migrate_prices()
            # These were pending when the previous run died, so their replies are lost.
            self._database.execute("UPDATE requests SET outcome = 'lost' WHERE outcome = 'sent'")
        except sqlite3.DatabaseError as error:
            self._lock.release()
            raise OptionsError(
                say(f"{path} is not a journal: {error}. Move it away.", f"{path} 不是运行日志：{error}。请把它移走。")
            ) from error

    def _migrate_prices(self) -> None:
        """Adds the price columns that journals of earlier versions lack."""
        columns = {row[1] for row in self._database.execute("PRAGMA table_info(requests)")}
        for column in {"prompt_price", "completion_price"} - columns:
            self._database.execute(f"ALTER TABLE requests ADD COLUMN {column} REAL")

    def find_reply(self, key: str) -> TeacherReply | None:
        """The recorded reply to the request with this key; None if there is none."""
        row = self._execute(
            "SELECT reply FROM requests WHERE key = ? AND outcome = 'answered' LIMIT 1", (key,)
        ).fetchone()
        return replace(TeacherReply(**json.loads(row[0])), from_journal=True) if row else None

    def record_sent(
        self, key: str, slot: str, model: str, prompt_tokens: int, completion_tokens: int, price: Price | None
    ) -> int:
        """Records a request before it is sent, with its maximum tokens. Returns the number of the record."""
        prices = (price.prompt, price.completion) if price else (None, None)
        row = self._execute(
            "INSERT INTO requests "
            "(key, slot, model, prompt_tokens, completion_tokens, outcome, prompt_price, completion_price) "
            "VALUES (?, ?, ?, ?, ?, 'sent', ?, ?)",
            (key, slot, model, prompt_tokens, completion_tokens, *prices),
        )
        return int(row.lastrowid or 0)

    def record_reply(self, number: int, reply: TeacherReply) -> None:
        """Records the reply to a request, with the tokens that it actually used."""
        recorded = {name: value for name, value in asdict(reply).items() if name != "from_journal"}
        if reply.reasoning is None:
            del recorded["reasoning"]  # a key that earlier versions cannot read
        self._execute(
            "UPDATE requests SET outcome = 'answered', reply = ?, prompt_tokens = ?, completion_tokens = ? "
            "WHERE id = ?",
            (json.dumps(recorded, ensure_ascii=True), reply.prompt_tokens, reply.completion_tokens, number),
        )

    def record_failure(self, number: int, *, billed: bool) -> None:
        """Records that a request has no reply; `billed` if the service may charge for it, as after a timeout."""
        outcome = "lost" if billed else "refused"
        self._execute("UPDATE requests SET outcome = ? WHERE id = ?", (outcome, number))

    def records(self) -> Iterator[RequestRecord]:
        """The requests of all runs with this journal, oldest first."""
        query = (
            "SELECT model, prompt_tokens, completion_tokens, outcome, prompt_price, completion_price "
            "FROM requests ORDER BY id"
        )
        for model, prompt, completion, outcome, *prices in self._execute(query):
            yield RequestRecord(model, prompt, completion, outcome, None if None in prices else Price(*prices))

    def get_fact(self, name: str) -> Any:
        """The value that `set_fact` recorded under this name; None if there is none."""
        row = self._execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_fact(self, name: str, value: Any) -> None:
        self._execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Raises JournalError, which stops the run: it must not spend money without a journal."""
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise JournalError(
                say(f"{self.path} cannot be written or read: {error}", f"{self.path} 无法读写：{error}")
            ) from error

    def close(self) -> None:
        self._database.close()
        self._lock.release()
