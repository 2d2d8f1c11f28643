"""Checked files to examples."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.examples.example import Example, read_examples, to_example
from luthier.data.examples.reasoning import by_reasoning
from luthier.types.errors import LuthierError

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello."}
CALL = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
TOOL_CALL = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "file.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_examples_come_as_they_are_written(tmp_path: Path) -> None:
    full: dict[str, Any] = {"messages": [USER, ANSWER | {"weight": 0}], "tools": TOOLS, "parallel_tool_calls": False}
    plain: dict[str, Any] = {"messages": [USER, CALL], "functions": [], "tools": None}
    assert list(read_examples(write(tmp_path, full, plain))) == [
        Example(full["messages"], TOOLS, False, 1),
        Example(plain["messages"], line=2),
    ]


def test_a_pair_is_a_conversation_of_two(tmp_path: Path) -> None:
    (example,) = read_examples(write(tmp_path, {"prompt": "Hi", "completion": "Hello."}))
    assert example == Example([USER, ANSWER], line=1)


@pytest.mark.parametrize(
    "bad", [[], "x", {}, {"messages": []}, {"messages": ["x"]}, {"prompt": "x"}, {"preferred_output": []}]
)
def test_an_unchecked_file_is_refused_by_line(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(LuthierError, match="line 2"):
        list(read_examples(write(tmp_path, {"messages": [USER, ANSWER]}, bad)))


def test_invalid_json_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text("\n{", encoding="utf-8")
    with pytest.raises(LuthierError, match="line 2: not valid JSON"):
        list(read_examples(path))


@pytest.mark.parametrize(
    ("example", "form"),
    [
        ({"messages": [USER, ANSWER]}, None),
        ({"messages": [USER, TOOL_CALL]}, "tools"),
        ({"messages": [USER, CALL]}, "functions"),
        ({"messages": [USER, ANSWER], "tools": TOOLS}, "tools"),
        ({"messages": [USER, ANSWER], "functions": [{"name": "f"}]}, "functions"),
        ({"messages": [USER, CALL], "tools": TOOLS}, "functions"),
        ({"messages": [USER, ANSWER | {"tool_calls": [], "function_call": None}], "tools": []}, None),
    ],
)
def test_the_form_of_calls(example: dict[str, Any], form: str | None) -> None:
    assert to_example(example, 1).call_form == form


def _reasoned(content: str, reasoning: str | None = None, **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": content, **({"reasoning_content": reasoning} if reasoning else {}), **more}


def test_each_answer_with_reasoning_is_trained_after_a_prompt_without() -> None:
    user = {"role": "user", "content": "q"}
    messages = [
        user,
        _reasoned("a", "r1"),
        user,
        _reasoned("b"),
        user,
        _reasoned("c", "r3"),
        user,
        _reasoned("d", "r4"),
    ]
    conversations = [example.messages for example in by_reasoning(Example(messages))]
    silent_a, silent_c = _reasoned("a", weight=0), _reasoned("c", weight=0)
    assert conversations == [
        [user, _reasoned("a", "r1")],
        [user, silent_a, user, _reasoned("b", weight=0), user, _reasoned("c", "r3")],
        [user, silent_a, user, _reasoned("b"), user, silent_c, user, _reasoned("d", "r4")],
    ]
    plain = Example([user, _reasoned("a"), user, _reasoned("b", "r")])
    assert list(by_reasoning(plain)) == [plain]
    untrained_rest = Example([user, _reasoned("a", "r"), user, _reasoned("b", weight=0)])
    assert [example.messages for example in by_reasoning(untrained_rest)] == [[user, _reasoned("a", "r")]]
