"""Token counts by OpenAI's vocabulary: those of the package, whichever way they are counted."""

import random
from typing import Any

import pytest

from luthier.data.examples.example import to_example
from luthier.data.openai_tokens import CountTokens, openai_counter, openai_texts

TEXTS = [
    "",
    "one two  three\n four ",
    "债券 <|endoftext|> ",
    "½\0\n\n  x",
    "It's WE'LL Ǆ'ſ",
    "\u3000\u180e\x85 \u2028",
]
CHARACTERS = [*range(0x20, 0x250), *range(0x300, 0x900), *range(0x2000, 0x2100), *range(0x3000, 0x3100), 9, 10, 13, 32]
OTHERS = [*range(0x4E00, 0x4E80), *range(0xAC00, 0xAC40), *range(0x1F300, 0x1F380), 0xFE0F, 0x200D, 0x10FFFF]


def counter(file_bytes: int) -> CountTokens:
    count = openai_counter(file_bytes)
    assert count is not None
    return count


def random_texts() -> list[str]:
    generator = random.Random(5)
    return ["".join(map(chr, generator.choices(CHARACTERS + OTHERS, k=n % 50))) for n in range(200)]


@pytest.mark.long
def test_tokens_are_those_of_the_package() -> None:
    import bpe_openai  # reads three vocabularies, which takes seconds

    encoding = bpe_openai.get_encoding("o200k_base")
    assert counter(10**9)(TEXTS) == [len(encoding.encode_ordinary(text)) for text in TEXTS]


def test_a_small_file_has_the_counts_of_a_large_one() -> None:
    texts = [*TEXTS, *random_texts(), "word" * 200, "。" * 300, '{"a":[1,2.50,"x_y"]}' * 5]
    assert counter(0)(texts) == counter(10**9)(texts)


@pytest.mark.parametrize("length", [48_000, 2_000_000])
def test_a_long_text_takes_linear_time(length: int) -> None:
    assert counter(length)(["a" * length]) == [length // 8]


def test_messages_names_and_definitions_are_billed() -> None:
    def words(**keys: Any) -> int:
        messages = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "three", "weight": 1}]
        texts, others = openai_texts(to_example({"messages": messages} | keys, 1))
        return sum(len(text.split()) for text in texts) + others

    assert words() == 3 + 2 * 3 + 2 + 3
    assert words(tools=[{"type": "function", "function": {"name": "f"}}]) == 15
