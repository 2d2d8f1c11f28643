"""Column types that mean the same on SQLite and on PostgreSQL.

SQLite's types are the reference: its integers have 64 bits, its texts have no maximum length, and texts are compared by
their bytes. On PostgreSQL, INTEGER has 32 bits, VARCHAR(n) rejects longer texts, and the collation of a database may
ignore punctuation.
"""

from sqlalchemy import BigInteger, Dialect, Integer, String, Text, TypeDecorator


class _BigInt(TypeDecorator[int]):
    """BIGINT that takes a bool as 0 or 1, as SQLite does."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return int(value) if isinstance(value, bool) else value


Int64 = _BigInt().with_variant(Integer(), "sqlite")  # INTEGER, which an autoincrement key has to be
LongText = Text().with_variant(Text(collation="C"), "postgresql")


def short_text(length: int) -> String:
    """The type of names and ids; `length` documents the expected length and is not enforced."""
    return String(length).with_variant(Text(collation="C"), "postgresql")
