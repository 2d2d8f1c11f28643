"""`luthier evaluate`: the right questions are asked, and the figures are those of the answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run
from fake_api import FakeAPI

pytestmark = pytest.mark.services

TOOL = {
    "type": "function",
    "function": {
        "name": "leave",
        "description": "写请假条",
        "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]},
    },
}
BASE, TUNED = "base", "ft:base:me::1"


def called(days: Any, name: str = "leave") -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"days": days})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


@pytest.fixture
def calls_file(tmp_path: Path) -> Path:
    lines = [
        {"messages": [{"role": "user", "content": f"请假 {days} 天"}, called(days)], "tools": [TOOL]}
        for days in range(1, 9)
    ]
    chat = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]
    lines += [{"messages": chat, "tools": [TOOL]}] * 2
    path = tmp_path / "valid.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def model(api: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The tuned model is always right; the base calls with a text for a number. The bodies that were sent."""
    sent: list[dict[str, Any]] = []

    def chat_route(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        sent.append(body)
        prompt = body["messages"][-1]["content"]
        days = prompt.removeprefix("请假 ").removesuffix(" 天")
        message = {"role": "assistant", "content": "您好"}
        if days.isdigit():
            message = called(int(days) if body["model"] == TUNED else days)
        usage = {"prompt_tokens": 100 if body.get("tools") else 10, "completion_tokens": 3, "total_tokens": 0}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}

    monkeypatch.setattr(api, "chat_route", chat_route)
    return sent


def test_calls_are_scored_with_and_without_definitions(luthier: Run, calls_file: Path, model: Any) -> None:
    result = json.loads(luthier("evaluate", TUNED, calls_file, "--functions", "--against", BASE, "--json").stdout)
    runs = {(run["model"], run["definitions"]): run for run in result["runs"]}
    assert list(runs) == [(TUNED, "full"), (TUNED, "none"), (BASE, "full"), (BASE, "none")]
    assert runs[TUNED, "none"]["figures"]["call_exact"]["value"] == 1
    assert runs[BASE, "full"]["figures"]["call_exact"] == {"value": 0.2, "low": 0.0567, "high": 0.5098, "n": 10}
    assert runs[BASE, "full"]["faults"] == {"wrong_type": 8}
    assert runs[BASE, "full"]["figures"]["irrelevance_accuracy"]["value"] == 1
    assert runs[TUNED, "none"]["efficiency"]["prompt_tokens_mean"] == 10
    comparisons = {
        (entry["first"]["model"], entry["first"]["definitions"], entry["difference_seen"])
        for entry in result["comparisons"]
    }
    assert comparisons == {(BASE, "full", True), (BASE, "none", True), (TUNED, "full", False)}
    assert {(body["model"], "tools" in body, body["temperature"]) for body in model} == {
        (name, sent, 0) for name in (TUNED, BASE) for sent in (True, False)
    }
    assert all(body["messages"][-1]["role"] == "user" for body in model)


def test_slim_definitions_lose_their_words(luthier: Run, calls_file: Path, model: Any) -> None:
    luthier("evaluate", TUNED, calls_file, "--functions", "--definitions", "slim", "--limit", 1)
    assert "description" not in model[0]["tools"][0]["function"]
    assert model[0]["tools"][0]["function"]["parameters"] == TOOL["function"]["parameters"]


def test_a_person_sees_a_table_the_saving_and_advice(luthier: Run, calls_file: Path, model: Any) -> None:
    output = luthier("evaluate", TUNED, calls_file, "--functions", "--against", BASE, "--price-in", 2).stdout
    assert "100 [72–100]" in output
    assert "10 prompt tokens instead of 100: 90 % less, $180.00 per million questions" in output
    assert f"{TUNED} is better than {BASE} (+80.0 points)" in output
    assert "Only 10 examples were evaluated" in output
    saved = json.loads(luthier("evaluate", TUNED, calls_file, "--functions", "--price-in", 2, "--json").stdout)[
        "saving"
    ]
    assert (saved["share_saved"], saved["usd_saved_per_million_questions"]) == (0.9, 180)


def test_the_page_stands_alone(luthier: Run, calls_file: Path, model: Any, tmp_path: Path) -> None:
    luthier("evaluate", BASE, calls_file, "--functions", "--out", tmp_path / "r.html", "--lang", "zh")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "http" not in text.replace('http-equiv="', "")
    assert "调用完全正确" in text
    assert "leave({&#34;days&#34;: &#34;3&#34;})" in text


def test_texts_are_scored_and_data_may_name_the_file(luthier: Run, tmp_path: Path, model: Any) -> None:
    path = tmp_path / "chats.jsonl"
    lines = [
        [{"role": "user", "content": "你好"}, {"role": "assistant", "content": message}] for message in ("您好", "再见")
    ]
    path.write_text("".join(json.dumps({"messages": line}) + "\n" for line in lines), encoding="utf-8")
    result = json.loads(luthier("evaluate", TUNED, "--against", BASE, "--data", path, "--json").stdout)
    assert result["kind"] == "text"
    figures = result["runs"][0]["figures"]
    assert figures["exact_match"]["value"] == 0.5
    assert figures["chrf"]["value"] == 0.5
    assert figures["truncation_rate"]["value"] == 0


def test_what_cannot_be_evaluated_is_said(luthier: Run, tmp_path: Path, model: Any) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n')
    result = luthier("evaluate", TUNED, path, "--functions")
    assert result.exit_code == 2
    assert "No example of" in result.stderr
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "q"}, called(1)], "tools": [TOOL]}) + "\n")
    result = luthier("evaluate", TUNED, path)
    assert (result.exit_code, model) == (2, [])
    assert "Add --functions" in result.stderr
    path.write_text('{"messages": [{"role": "assistant", "content": "a"}]}\n')
    assert "Line 1 has no question" in luthier("evaluate", TUNED, path).stderr


def test_losses_come_from_services_that_tell_them(
    luthier: Run, tmp_path: Path, model: Any, api: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chats.jsonl"
    line = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "您好"}]
    path.write_text(json.dumps({"messages": line}) * 1 + "\n" + json.dumps({"messages": line}) + "\n")
    output = luthier("evaluate", TUNED, "--against", BASE, "--data", path).stdout
    assert "loss: not available from the service" in output
    result = json.loads(luthier("evaluate", TUNED, path, "--json").stdout)["runs"][0]
    assert "full_valid_loss" not in result["figures"]
    assert set(result["not_available"]) == {"full_valid_loss", "full_valid_mean_token_accuracy"}

    bodies: list[Any] = []

    def evaluations_route(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest != ["losses"]:
            bodies.append(body)
            return {"id": "evaluation-1"}
        nats = 2.0 if body["model"] == TUNED else 8.0
        entry = {"loss": nats, "weight": 4.0, "tokens": 4, "correct_tokens": 3, "truncated": False}
        return {"object": "list", "model": body["model"], "data": [entry for _ in body["examples"]]}

    monkeypatch.setattr(api, "evaluations_route", evaluations_route)
    runs = json.loads(luthier("evaluate", TUNED, path, "--against", BASE, "--json").stdout)["runs"]
    assert [run["figures"]["full_valid_loss"]["value"] for run in runs] == [0.5, 2.0]
    assert runs[0]["figures"]["full_valid_mean_token_accuracy"]["value"] == 0.75
    first = json.loads(luthier("evaluate", TUNED, path, "--limit", 1, "--json").stdout)["runs"][0]["figures"]
    assert first["valid_loss"]["value"] == 0.5
    assert "full_valid_loss" not in first
    assert [(body["model"], body["report"]["runs"]) for body in bodies[:1]] == [(TUNED, runs)]


@pytest.mark.parametrize("flags", [["--definitions", "none"], ["--price-in", "1"]])
def test_flags_of_calls_are_not_ignored_for_texts(luthier: Run, calls_file: Path, model: Any, flags: list[str]) -> None:
    result = luthier("evaluate", TUNED, calls_file, *flags)
    assert result.exit_code == 2
    assert "add --functions" in result.stderr
    assert not model


def test_progress_is_said_off_terminals(luthier: Run, calls_file: Path, model: Any) -> None:
    lines = luthier("evaluate", TUNED, calls_file, "--functions", "--limit", 2).stderr.splitlines()
    assert [line.split("  ")[1] for line in lines[:2]] == ["evaluating 0/8", "evaluating 8/8"]
