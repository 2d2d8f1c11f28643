"""Column types that mean the same on SQLite and on PostgreSQL.

SQLite's own are taken as the measure: its integers have 64 bits, its texts have no length, and it compares texts by
their bytes. On PostgreSQL INTEGER has 32 bits, VARCHAR(n) refuses a longer text, and a database's collation may ignore
punctuation.
"""

from sqlalchemy import BigInteger, Integer, String, Text

Int64 = BigInteger().with_variant(Integer(), "sqlite")  # INTEGER, which an autoincrement key has to be
LongText = Text().with_variant(Text(collation="C"), "postgresql")


def short_text(length: int) -> String:
    """For names and ids; `length` documents what is expected and is not enforced."""
    return String(length).with_variant(Text(collation="C"), "postgresql")
