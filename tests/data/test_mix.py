"""The mix of definitions: repeatable, even over the epochs, and no data is invented where there is enough."""

import numpy as np
import pytest

from luthier.data.examples.example import Example
from luthier.data.examples.tool_definitions import SHOWN, Shown
from luthier.data.rendering.tool_dropout import Additions, Mix, show
from luthier.types.errors import LuthierError

FUNCTION = {
    "name": "f",
    "description": "words",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
SYSTEM = {"role": "system", "content": "你是助手，可以调用函数。"}
CALL = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}


def calling(line: int, functions: object = (FUNCTION,)) -> Example:
    messages = [SYSTEM, {"role": "user", "content": f"办理 {line}"}, CALL]
    return Example(messages, None, list(functions) if functions else None, None, line)  # type: ignore[call-overload]


def test_shares_are_kept_and_repeat() -> None:
    mix = Mix()
    seen = np.concatenate([mix.shown(7, epoch, 2000) for epoch in range(3)])
    shares = [float((seen == SHOWN.index(shown)).mean()) for shown in ("full", "slim", "none")]
    assert shares == pytest.approx([0.4, 0.2, 0.4], abs=0.03)
    assert (mix.shown(7, 2, 2000) == seen[4000:]).all()
    assert (mix.shown(8, 2, 2000) != seen[4000:]).any()


def test_an_example_is_shown_in_more_than_one_way_over_the_epochs() -> None:
    ways = np.stack([Mix().shown(1, epoch, 200) for epoch in range(3)])
    assert all(len(set(column)) > 1 for column in ways.T)


@pytest.mark.parametrize("shown", SHOWN)
def test_one_way_only(shown: Shown) -> None:
    assert set(Mix.parse(shown).shown(1, 0, 100)) == {SHOWN.index(shown)}


@pytest.mark.parametrize(
    ("text", "mix"), [("none", Mix(0, 0, 1)), ("50,0,50", Mix(0.5, 0, 0.5)), ("1,1,2", Mix(0.25, 0.25, 0.5))]
)
def test_a_mix_is_read(text: str, mix: Mix) -> None:
    assert Mix.parse(text) == mix


@pytest.mark.parametrize("text", ["", "1,2", "a,b,c", "0,0,0", "-1,1,1"])
def test_no_mix(text: str) -> None:
    with pytest.raises(LuthierError, match="no mix of definitions"):
        Mix.parse(text)


def test_definitions_as_shown() -> None:
    full = show(calling(1), "full")
    assert full.tools == [{"type": "function", "function": FUNCTION}]
    assert full.functions is None
    slim = show(calling(1), "slim").tools
    assert slim is not None
    assert "description" not in slim[0]["function"]
    assert show(calling(1), "none").tools is None


def added(examples: list[Example]) -> list[Example]:
    additions = Additions()
    for example in examples:
        additions.see(example)
    return additions.examples(seed=1)


def test_examples_without_a_call_are_added_in_the_files_language() -> None:
    made = added([calling(line) for line in range(40)])
    assert len(made) == 4
    for example in made:
        assert example.messages[0] == SYSTEM
        assert example.functions == [FUNCTION]
        assert "\u4e00" <= example.messages[-1]["content"][0] <= "\u9fff"
    assert made == added([calling(line) for line in range(40)])


def test_nothing_is_added_where_the_file_has_such_examples_or_no_definitions() -> None:
    turns = [SYSTEM, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert added([*(calling(line) for line in range(40)), Example(turns, None, None, None, 9)]) == []
    assert added([calling(line, None) for line in range(40)]) == []
