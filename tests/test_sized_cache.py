"""A cache that is bounded by the text of its arguments."""

import pytest

from luthier.types import sized_cache as module
from luthier.types.sized_cache import sized_cache


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXT", 2400)


def test_what_was_used_last_is_kept() -> None:
    calls: list[str] = []

    @sized_cache
    def length(text: str) -> int:
        calls.append(text[:1])
        return len(text)

    for letter in "abac":
        length(letter * 900)
    assert calls == ["a", "b", "c"]  # `a` was kept beside `b`, and `b` had to go for `c`
    length("a" * 900)
    assert calls == ["a", "b", "c"]
    length("b" * 900)
    assert calls == ["a", "b", "c", "b"]


def test_a_text_beyond_the_bound_is_not_kept() -> None:
    calls: list[int] = []

    @sized_cache
    def length(text: bytes) -> int:
        calls.append(len(text))
        return len(text)

    assert [length(b"a" * 5000), length(b"a" * 5000)] == [5000] * 2
    assert calls == [5000] * 2


def test_exceptions_are_raised_each_time() -> None:
    @sized_cache
    def refuse(text: str) -> None:
        raise ValueError(text)

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            refuse("no")
