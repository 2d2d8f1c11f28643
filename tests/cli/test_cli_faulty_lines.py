"""Whatever a file holds, commands on it end in an answer: faulty lines and endless texts, with a base to count by."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st

from property_examples import example_count

GOOD = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def chat(question: Any, answer: Any, **keys: Any) -> dict[str, Any]:
    return {"messages": [question, answer], **keys}


def asks(**keys: Any) -> dict[str, Any]:
    return {"role": "user", "content": "q"} | keys


def answers(**keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "a"} | keys


def calls(call: Any) -> dict[str, Any]:
    return chat(asks(), {"role": "assistant", "content": None, "tool_calls": [call]})


FAULTY: dict[str, Any] = {
    "no role": chat({"content": "q"}, answers()),
    "role is null": chat(asks(role=None), answers()),
    "role is a list": chat(asks(role=["user"]), answers()),
    "role is an object": chat(asks(), answers(role={"name": "assistant"})),
    "content is a number": chat(asks(content=5), answers()),
    "content is true": chat(asks(), answers(content=True)),
    "content is an object": chat(asks(content={"text": "q"}), answers()),
    "content is a list of texts": chat(asks(content=["q"]), answers()),
    "part without text": chat(asks(content=[{"type": "text"}]), answers()),
    "part with a number": chat(asks(content=[{"type": "text", "text": 1}]), answers()),
    "message is a text": {"messages": ["q", "a"]},
    "message is null": {"messages": [None, answers()]},
    "messages are an object": {"messages": {"role": "user"}},
    "messages are JSON text": {"messages": json.dumps(GOOD["messages"])},
    "tools as text": chat(asks(), answers(), tools=json.dumps([TOOL])),
    "tools as a number": chat(asks(), answers(), tools=3),
    "tools as an object": chat(asks(), answers(), tools=TOOL),
    "tools of texts": chat(asks(), answers(), tools=["f"]),
    "tool whose function is a text": chat(asks(), answers(), tools=[{"type": "function", "function": "f"}]),
    "functions as text": chat(asks(), answers(), functions="f"),
    "functions of null": chat(asks(), answers(), functions=[None]),
    "arguments as an object": calls({"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}),
    "arguments are absent": calls({"id": "1", "type": "function", "function": {"name": "f"}}),
    "call without function": calls({"id": "1", "type": "function", "name": "f", "arguments": "{}"}),
    "call whose function is null": calls({"id": "1", "type": "function", "function": None}),
    "call without name": calls({"id": "1", "type": "function", "function": {"arguments": "{}"}}),
    "call is a text": calls("f()"),
    "tool_calls as an object": chat(asks(), answers(tool_calls={"name": "f"})),
    "function_call as text": chat(asks(), answers(function_call="f")),
    "function_call with arguments as an object": chat(asks(), answers(function_call={"name": "f", "arguments": {}})),
    "weight is a word": chat(asks(), answers(weight="high")),
    "weight is a list": chat(asks(), answers(weight=[1])),
    "name is an object": chat(asks(name={"a": 1}), answers()),
    "prompt is a number": {"prompt": 1, "completion": "a"},
    "completion is null": {"prompt": "q", "completion": None},
    "pair without input": {"preferred_output": [], "non_preferred_output": 3},
    "line is a list": [GOOD],
    "line is a number": 7,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.jsonl"


def write(path: Path, *lines: Any) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def run_each_command(path: Path, base: object) -> None:
    """Every command that reads a file before it is uploaded; `run` raises what does not end in an answer."""
    out = path.parent / "out"
    run("check", path, "--base", base)
    run("check", path, "--base", base, "--fix", out / "fixed.jsonl", "--force")
    for number in (1, 2):
        run("check", path, "--base", base, "--show", number)
    run("estimate", path, "--base", base, "--measure", "never")
    run("split", path, "--out", out, "--force")


@pytest.mark.parametrize("line", FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_line_is_named_and_the_others_are_counted(line: Any, path: Path, tiny_base: Path) -> None:
    write(path, *[GOOD] * 11, line)
    (path.parent / "out").mkdir()
    run_each_command(path, tiny_base)
    checked = run("check", path, "--base", tiny_base, "--json")
    assert checked.exit_code == 1
    report = json.loads(checked.stdout)["files"][0]
    assert any(finding["line"] == 12 and finding["severity"] == "error" for finding in report["findings"])
    counts = [report["numbers"][key] for key in ("examples", "sampled", "counted", "faulty")]
    assert counts == [12, 12, 11, 1]
    assert "errors: 1 of 12 examples" in run("check", path, "--base", tiny_base).stdout
    estimated = run("estimate", path, "--base", tiny_base, "--measure", "never")
    assert estimated.exit_code == 0
    assert "errors: 1 of 12 examples" in estimated.stderr
    assert "luthier check" in estimated.stderr
    assert run("check", path, "--base", tiny_base, "--show", 1).exit_code == 0
    result = run("check", path, "--base", tiny_base, "--show", 12)
    assert result.exit_code == 2
    assert "Line 12" in result.stderr


def test_an_example_after_a_faulty_line_is_shown(path: Path, tiny_base: Path) -> None:
    write(path, 7, FAULTY["no role"], GOOD)
    assert "Line 3" in run("check", path, "--base", tiny_base, "--show", 3).stderr


def test_an_estimate_is_of_the_lines_without_errors(path: Path, tiny_base: Path) -> None:
    write(path, *[GOOD] * 10)
    whole = json.loads(run("estimate", path, "--base", tiny_base, "--measure", "never", "--json").stdout)
    write(path, *[GOOD] * 10, *list(FAULTY.values())[:5])
    part = json.loads(run("estimate", path, "--base", tiny_base, "--measure", "never", "--json").stdout)
    assert (part["examples"], part["counted"], part["faulty"]) == (15, 10, 5)
    for key in ("tokens", "openai_tokens", "epochs", "trained_tokens"):
        assert part[key] == whole[key]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_file_of_which_no_line_can_be_counted(language: str, path: Path, tiny_base: Path) -> None:
    write(path, *FAULTY.values())
    total = len(FAULTY)
    checked = run("check", path, "--base", tiny_base, "--lang", language)
    assert checked.exit_code == 1
    estimated = run("estimate", path, "--base", tiny_base, "--measure", "never", "--lang", language)
    assert estimated.exit_code == 2
    assert "luthier check" in estimated.stderr
    sentences = {"en": f"all {total} examples have errors", "zh": f"全部 {total} 个样本都有错误"}
    sentence = sentences[language]
    assert sentence in checked.stdout
    assert sentence in estimated.stderr


@pytest.mark.parametrize("options", [(), ("--method", "dpo")])
def test_pairs_are_recognised(options: tuple[str, ...], path: Path, tiny_base: Path) -> None:
    outputs = {"preferred_output": [answers()], "non_preferred_output": [answers(content="b")]}
    pair = {"input": {"messages": [asks()]}} | outputs
    write(path, *[pair] * 10)
    held_out = path.with_name("valid.jsonl")
    write(held_out, pair)
    checked = run("check", path, "--validation", held_out, "--base", tiny_base, *options)
    assert checked.exit_code == 0
    assert f"luthier tune {path} --validation {held_out} --method dpo" in checked.stdout
    assert run("check", path, "--base", tiny_base, "--method", "supervised").exit_code == 1
    document = json.loads(run("estimate", path, "--base", tiny_base, "--measure", "never", "--json").stdout)
    assert (document["counted"], document["faulty"]) == (10, 0)
    examples_shown = json.loads(run("check", path, "--base", tiny_base, "--show", 1, "--json").stdout)
    for side, text in (("preferred", answers()["content"]), ("non_preferred", "b")):
        rows = zip(examples_shown[side]["tokens"], examples_shown[side]["weights"], strict=True)
        assert "".join(token for token, weight in rows if weight) == f"{text}<|im_end|>"
    assert "Non-preferred answer" in run("check", path, "--base", tiny_base, "--show", 1).stderr


def test_estimates_are_made_of_other_formats_too(path: Path, tiny_base: Path) -> None:
    write(path, *[{"prompt": f"City {n}?", "chosen": "Oslo", "rejected": "None"} for n in range(10)])
    result = run("estimate", path, "--base", tiny_base, "--measure", "never", "--json")
    assert json.loads(result.stdout)["counted"] == 10
    assert "--fix file.fixed.jsonl" in result.stderr
    table = path.with_name("table.csv")
    table.write_text("one,two\n1,2\n")
    failed = run("estimate", table, "--base", tiny_base, "--measure", "never")
    assert failed.exit_code == 2
    assert "which columns hold the question" in failed.stderr


@pytest.mark.parametrize("options", [(), ("--method", "reinforcement")])
def test_items_of_reinforcement_are_recognised(options: tuple[str, ...], path: Path, tiny_base: Path) -> None:
    write(path, *[{"messages": [asks()], "expected": {"n": 4}}] * 10)
    checked = run("check", path, "--base", tiny_base, *options)
    assert checked.exit_code == 0
    assert "reinforcement cannot be trained here" in checked.stdout
    assert "reinforcement" in run("estimate", path, "--base", tiny_base, "--measure", "never").stderr


ENDLESS = {
    "a million letters": "a" * 1_000_000,
    "Chinese without a space": "春眠不觉晓" * 100_000,
    "emoji": "😀" * 100_000,
    "digits": "7" * 400_000,
    "spaces": "a" + " " * 400_000 + "b",
    "line breaks": "a" + "\n" * 400_000 + "b",
    "words": "word " * 250_000,
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_texts(text: str, path: Path, tiny_base: Path) -> None:
    write(path, *[GOOD] * 10, chat(asks(content="q"), answers(content=text)), chat(asks(content=text), answers()))
    checked = run("check", path, "--base", tiny_base)
    assert "truncated" in checked.stdout
    assert "nothing_trainable_in_context" in checked.stdout
    assert run("check", path, "--base", tiny_base, "--show", 11).exit_code == 0
    estimated = run("estimate", path, "--base", tiny_base, "--measure", "never", "--json")
    assert json.loads(estimated.stdout)["truncated"] == 2


integers_and_floats = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers_and_floats | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return usual | usual | usual | values


roles = st.sampled_from(["user", "assistant", "system", "developer", "tool", "function"])
functions = st.fixed_dictionaries(
    {"name": mostly(st.just("f"))},
    optional={"arguments": mostly(st.sampled_from(["{}", '{"a": 1}', "[", "", '{"a": 1e999}'])), "parameters": values},
)
tool_calls = st.fixed_dictionaries(
    {}, optional={"id": mostly(st.just("1")), "type": mostly(st.just("function")), "function": mostly(functions)}
)
parts = st.fixed_dictionaries({"type": mostly(st.just("text"))}, optional={"text": mostly(st.text(max_size=5))})
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": mostly(roles),
        "content": mostly(st.text(max_size=5) | st.lists(mostly(parts), max_size=2)),
        "name": mostly(st.just("f")),
        "weight": mostly(st.sampled_from([0, 1])),
        "tool_calls": mostly(st.lists(mostly(tool_calls), max_size=2)),
        "function_call": mostly(functions),
        "tool_call_id": mostly(st.just("1")),
    },
)
conversations = mostly(st.lists(mostly(messages), max_size=4))
examples = st.fixed_dictionaries(
    {},
    optional={
        "messages": conversations,
        "tools": mostly(st.lists(mostly(tool_calls), max_size=2)),
        "functions": mostly(st.lists(mostly(functions), max_size=2)),
        "parallel_tool_calls": values,
        "prompt": mostly(st.text(max_size=5)),
        "completion": mostly(st.text(max_size=5)),
        "input": values | st.fixed_dictionaries({"messages": conversations}),
        "preferred_output": conversations,
        "non_preferred_output": conversations,
    },
)
objects = (mostly(examples) | st.just(GOOD)).map(lambda value: json.dumps(value, ensure_ascii=False).encode())
lines = objects | st.binary(max_size=20)


@given(content=st.lists(lines, max_size=4).map(b"\n".join))
@settings(max_examples=example_count(40))
def test_no_input_ends_in_a_traceback(content: bytes, path: Path, tiny_base: Path) -> None:
    path.write_bytes(content)
    (path.parent / "out").mkdir(exist_ok=True)
    run_each_command(path, tiny_base)


@pytest.mark.slow
def test_the_embedded_base_counts_what_has_no_error(path: Path, real_base: Path) -> None:
    write(path, *[GOOD] * 10, *FAULTY.values(), *(chat(asks(), answers(content=text)) for text in ENDLESS.values()))
    (path.parent / "out").mkdir()
    run_each_command(path, real_base)
    counted = json.loads(run("check", path, "--base", real_base, "--json").stdout)["files"][0]["numbers"]
    assert counted["faulty"] == len(FAULTY)
    assert counted["truncated"] >= len(ENDLESS) - 1  # this base has tokens of many spaces
