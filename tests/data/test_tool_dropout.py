"""The mix of definitions: repeatable, even over the epochs, and no data is invented where there is enough."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from luthier.data.examples.example import Example
from luthier.data.examples.tool_definitions import DETAIL_LEVELS, DefinitionDetail
from luthier.data.rendering.tool_dropout import NoCallExamples, ToolDropout, apply_detail
from luthier.types.errors import LuthierError

FUNCTION: dict[str, Any] = {
    "name": "f",
    "description": "words",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
SYSTEM = {"role": "system", "content": "你是助手，可以调用函数。"}
CALL = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}


def calling(line: int, functions: Sequence[dict[str, Any]] = (FUNCTION,)) -> Example:
    messages = [SYSTEM, {"role": "user", "content": f"办理 {line}"}, CALL]
    tools = [{"type": "function", "function": function} for function in functions]
    return Example(messages, tools or None, line=line, has_functions=bool(tools))


def test_shares_are_kept_and_repeat() -> None:
    mix = ToolDropout()
    observed = np.concatenate([mix.levels(7, epoch, 2000) for epoch in range(3)])
    shares = [float((observed == DETAIL_LEVELS.index(output)).mean()) for output in ("full", "slim", "none")]
    assert shares == pytest.approx([0.4, 0.2, 0.4], abs=0.03)
    assert (mix.levels(7, 2, 2000) == observed[4000:]).all()
    assert (mix.levels(8, 2, 2000) != observed[4000:]).any()


def test_an_example_is_shown_in_more_than_one_way_over_the_epochs() -> None:
    ways = np.stack([ToolDropout().levels(1, epoch, 200) for epoch in range(3)])
    assert all(len(set(column)) > 1 for column in ways.T)


@pytest.mark.parametrize("shown", DETAIL_LEVELS)
def test_one_way_only(shown: DefinitionDetail) -> None:
    assert set(ToolDropout.parse(shown).levels(1, 0, 100)) == {DETAIL_LEVELS.index(shown)}


@pytest.mark.parametrize(
    ("text", "mix"),
    [("none", ToolDropout(0, 0, 1)), ("50,0,50", ToolDropout(0.5, 0, 0.5)), ("1,1,2", ToolDropout(0.25, 0.25, 0.5))],
)
def test_a_mix_is_read(text: str, mix: ToolDropout) -> None:
    assert ToolDropout.parse(text) == mix


@pytest.mark.parametrize("text", ["", "1,2", "a,b,c", "0,0,0", "-1,1,1"])
def test_no_mix(text: str) -> None:
    with pytest.raises(LuthierError, match="not a mix of definitions"):
        ToolDropout.parse(text)


def test_definitions_as_shown() -> None:
    full = apply_detail(calling(1), "full")
    assert full.tools == [{"type": "function", "function": FUNCTION}]
    slim = apply_detail(calling(1), "slim").tools
    assert slim is not None
    assert "description" not in slim[0]["function"]
    assert apply_detail(calling(1), "none").tools is None


def added(examples: list[Example]) -> list[Example]:
    additions = NoCallExamples()
    for example in examples:
        additions.observe(example)
    return additions.examples(seed=1)


def test_examples_without_a_call_are_added_in_the_files_language() -> None:
    result = added([calling(line) for line in range(40)])
    assert len(result) == 4
    for example in result:
        assert example.messages[0] == SYSTEM
        assert example.tools == [{"type": "function", "function": FUNCTION}]
        assert "\u4e00" <= example.messages[-1]["content"][0] <= "\u9fff"
    assert result == added([calling(line) for line in range(40)])


def test_nothing_is_added_where_the_file_has_such_examples_or_no_definitions() -> None:
    turns = [SYSTEM, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert added([*(calling(line) for line in range(40)), Example(turns, line=9)]) == []
    assert added([calling(line, ()) for line in range(40)]) == []
