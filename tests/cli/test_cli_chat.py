"""Talking: streamed text, calls, history, and turns that go wrong."""

import json
from pathlib import Path

import pytest
from command_line import Run
from fake_api import FakeAPI

pytestmark = pytest.mark.services

CALL = [
    {"role": "assistant", "content": None},
    {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "price", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"of": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"ABC"}'}}]},
]
PATH = "/v1/chat/completions"


def test_one_message_is_streamed(api: FakeAPI, luthier: Run) -> None:
    result = luthier("chat", "m", "Hi", "--system", "Be kind", "--temperature", "0", "--max-tokens", "5")
    assert result.stdout == "Hello\n"
    messages = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    sent = {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 5, "stream": True}
    assert api.bodies(PATH) == [sent]


def test_text_may_be_piped_in(api: FakeAPI, luthier: Run) -> None:
    assert luthier("chat", "m", text="from a pipe\n").stdout == "Hello\n"
    assert api.bodies(PATH)[0]["messages"][0]["content"] == "from a pipe"
    assert luthier("chat", "m", text=" \n").exit_code == 2


def test_calls_are_shown_as_calls(api: FakeAPI, luthier: Run) -> None:
    api.answers = [CALL]
    assert luthier("chat", "m", "Hi").stdout == 'price({"of": "ABC"})\n'
    api.answers = [[{"function_call": {"name": "price", "arguments": "{"}}, {"function_call": {"arguments": "}"}}]]
    assert luthier("chat", "m", "Hi").stdout == "price({})\n"


def test_a_stream_that_breaks_off_is_one_message(api: FakeAPI, luthier: Run) -> None:
    api.failures.append((200, b'data: {"error": {"message": "Out of memory"}}\n\n'))
    result = luthier("chat", "m", "Hi")
    assert result.exit_code == 2
    assert "Out of memory" in result.stderr


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What a person at a terminal types; None is Ctrl-D."""
    lines: list[str | None] = []
    monkeypatch.setattr("luthier.cli.chat._read_line", lambda prompt: lines.pop(0))
    monkeypatch.setattr("luthier.cli.chat._on_terminal", lambda: True)
    return lines


def test_a_conversation_remembers_until_told_to_forget(api: FakeAPI, luthier: Run, typed: list[str | None]) -> None:
    typed += ["one", "", "two", "/new", "three", None]
    result = luthier("chat", "m", "--system", "s")
    assert result.exit_code == 0
    assert result.stdout == "Hello\nHello\nHello\n"
    said = [[message["content"] for message in body["messages"]] for body in api.bodies(PATH)]
    assert said == [["s", "one"], ["s", "one", "Hello", "two"], ["s", "three"]]


def test_the_person_answers_calls(api: FakeAPI, luthier: Run, typed: list[str | None]) -> None:
    api.answers = [CALL, [{"content": "It is 7."}]]
    typed += ["price?", "7", None]
    assert luthier("chat", "m").stdout.splitlines()[-1] == "It is 7."
    messages = api.bodies(PATH)[-1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "price", "arguments": '{"of": "ABC"}'}
    assert messages[2] == {"role": "tool", "tool_call_id": "call_1", "content": "7"}


def test_a_turn_that_fails_is_forgotten(api: FakeAPI, luthier: Run, typed: list[str | None]) -> None:
    api.failures.append((400, b'{"error": {"message": "Too long", "code": "context_length_exceeded"}}'))
    typed += ["far too long", "short", None]
    result = luthier("chat", "m")
    assert "Too long" in result.stderr
    assert result.stdout == "Hello\n"
    assert [message["content"] for message in api.bodies(PATH)[-1]["messages"]] == ["short"]


FUNCTION = {"name": "price", "parameters": {"type": "object", "properties": {"of": {"type": "integer"}}}}
TOOL = {"type": "function", "function": FUNCTION}
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ([TOOL], {"tools": [TOOL]}),
        ({"functions": [FUNCTION]}, {"functions": [FUNCTION]}),
        (FUNCTION, {"functions": [FUNCTION]}),
        ({"messages": TALK, "tools": [TOOL]}, {"tools": [TOOL]}),
    ],
)
def test_definitions_are_sent_and_calls_held_against_them(
    api: FakeAPI, luthier: Run, tmp_path: Path, content: object, sent: dict
) -> None:
    file = tmp_path / "functions.json"
    file.write_text(json.dumps(content))
    api.answers = [CALL]
    result = luthier("chat", "m", "Hi", "--functions", str(file))
    assert result.stdout == 'price({"of": "ABC"})\n'
    assert "wrong type" in result.stderr
    assert luthier("chat", "m", "Hi", "--functions", str(file), "--json").exit_code == 0
    for body in api.bodies(PATH):
        assert {key: body[key] for key in ("tools", "functions") if key in body} == sent


def test_definitions_stay_in_a_conversation(
    api: FakeAPI, luthier: Run, typed: list[str | None], tmp_path: Path
) -> None:
    """A file in the older form of several lines; its functions once each."""
    line = {"messages": [TALK[0], {"role": "assistant", "function_call": {"name": "price", "arguments": "{}"}}]}
    (tmp_path / "train.jsonl").write_text((json.dumps(line | {"functions": [FUNCTION]}) + "\n") * 2)
    typed += ["one", "two", None]
    luthier("chat", "m", "--functions", str(tmp_path / "train.jsonl"))
    assert [body["functions"] for body in api.bodies(PATH)] == [[FUNCTION], [FUNCTION]]


@pytest.mark.parametrize("content", ["[]", "[1]", '[{"name": 1}]', "nonsense", '{"messages": []}', "3"])
def test_a_file_without_definitions_is_refused(api: FakeAPI, luthier: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    result = luthier("chat", "m", "Hi", "--functions", str(tmp_path / "x.json"))
    assert result.exit_code == 2
    assert "x.json" in result.stderr
    assert api.bodies(PATH) == []
