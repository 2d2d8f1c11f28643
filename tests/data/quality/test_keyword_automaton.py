"""No text that holds a word is missed."""

from hypothesis import given
from hypothesis import strategies as st

from luthier.data.check.quality.joined_texts import JoinedTexts
from luthier.data.check.quality.keyword_automaton import KeywordAutomaton

letters = st.text("ab密码\0 ", max_size=12)


@given(
    texts=st.lists(letters, min_size=1, max_size=8), words=st.lists(letters.filter(lambda w: len(w) > 1), min_size=1)
)
def test_every_text_with_a_word_is_found(texts: list[str], words: list[str]) -> None:
    texts = [text.replace("\0", "") for text in texts]
    words = [word.lstrip("\0").replace("\0", "b") + "a" for word in words]
    matches = KeywordAutomaton(words).texts_with(JoinedTexts(texts))
    assert matches >= {place for place, text in enumerate(texts) if any(word in text for word in words)}


def test_long_texts_are_searched_across_pieces() -> None:
    texts = ["x" * (16_384 - 5) + "password", "y" * 40_000, "z" * 20_000 + "密码"]
    assert KeywordAutomaton(["password", "密码"]).texts_with(JoinedTexts(texts)) == {0, 2}


def test_most_texts_raise_no_alarm() -> None:
    texts = [f"The fund number {n} spreads its money over shares and bonds of many companies." for n in range(500)]
    assert len(KeywordAutomaton(["password", "secret", "sk-", "AKIA"]).texts_with(JoinedTexts(texts))) < 25
