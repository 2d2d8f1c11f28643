"""Numbers that a text states, as people write them."""

import pytest

from luthier.data.examples.stated_numbers import stated_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("我今年25岁，有45万", {25, 45, 450_000}),
        ("每月1.2万元，涨4.5%", {1.2, 12_000, 4.5, 0.045}),
        ("３千块", {3, 3000}),
        ("一百二十三天，二〇二六年", {123, 2026}),
        ("两万五千和一亿二千万", {25_000, 120_000_000}),
        ("算一下", {1}),
        ("pay 1,250.50 by the 3rd", {1250.5, 3}),
        ("20k or two hundred thousand", {20, 20_000, 2}),
        ("-3 degrees, 2026-11-30", {-3, 3, 2026, 11, 30}),
        ("twenty-five people, a party of eight", {25, 8}),
        ("someone often weighs tension", set()),
        ("code 007 and v1.2.3", {7, 1.2}),
        ("9" * 400, set()),
        ("", set()),
    ],
)
def test_numbers_of_a_text(text: str, numbers: set[float]) -> None:
    assert stated_numbers(text) == numbers
