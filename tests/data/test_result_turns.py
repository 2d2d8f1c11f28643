"""Results and answers after calls: only where a file has none, repeatable, in the file's language and form."""

import json
from typing import Any

import pytest

from luthier.data.examples.example import Example
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.result_turns import lines_to_continue, with_result

QUESTIONS = {"en": "Please do it.", "zh": "请帮我办理一下。"}


def call(name: str, arguments: Any, number: int = 1) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def example(line: int, answer: dict[str, Any], *more: dict[str, Any], language: str = "en") -> Example:
    return Example([{"role": "user", "content": QUESTIONS[language]}, answer, *more], line=line)


def calling(line: int, *calls: dict[str, Any], language: str = "en") -> Example:
    calls = calls or (call("f", {"a": line}),)
    return example(line, {"role": "assistant", "content": None, "tool_calls": list(calls)}, language=language)


ANSWER = {"role": "assistant", "content": "It is done."}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "ok"}
FUNCTION_RESULT = {"role": "function", "name": "f", "content": "ok"}


def test_a_share_of_the_examples_that_end_with_a_call() -> None:
    examples = [*(calling(line) for line in range(1, 101)), example(101, ANSWER), example(102, ANSWER)]
    lines = lines_to_continue(examples, 0.2, seed=1)
    assert len(lines) == 20
    assert lines <= set(range(1, 101))
    assert lines == lines_to_continue(examples, 0.2, seed=1) != lines_to_continue(examples, 0.2, seed=2)
    assert len(lines_to_continue(examples[:3], 0.1, seed=1)) == 1


@pytest.mark.parametrize(
    "own",
    [
        example(9, calling(9).messages[-1], RESULT, ANSWER),
        example(9, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, FUNCTION_RESULT, ANSWER),
        example(9, calling(9).messages[-1], RESULT, calling(9).messages[-1]),
    ],
)
def test_none_where_the_file_has_answers_after_results(own: Example) -> None:
    assert not lines_to_continue([*(calling(line) for line in range(8)), own], 0.5, seed=1)


def test_none_of_a_file_without_calls_and_none_of_untrained_calls() -> None:
    untrained = calling(2)
    untrained.messages[-1]["weight"] = 0
    assert not lines_to_continue([example(1, ANSWER), untrained], 0.5, seed=1)
    assert not lines_to_continue([calling(1)], 0, seed=1)


CASES = [
    ("en", [call("book_table", {"place": "Luigi's", "seats": 4, "outdoor": True})], ["Luigi's", "seats 4", "outdoor"]),
    ("en", [call("openValve", {"valve": "B7"}), call("closeValve", {"valve": "C2"}, 2)], ["B7", "C2"]),
    ("en", [call("send", {"to": ["Ann", "Ben"], "text": "x" * 500, "options": {"a": 1}})], ["Ann and Ben"]),
    ("zh", [call("create_order", {"product": "稳健一号", "amount": 5000})], ["稳健一号", "5000"]),
    ("en", [call("reboot", {})], []),
]


@pytest.mark.parametrize(("language", "calls", "values"), CASES)
def test_the_sentence_restates_success_or_says_that_it_failed(
    language: str, calls: list[dict[str, Any]], values: list[str]
) -> None:
    succeeded = 0
    for seed in range(40):
        *before, answer = with_result(calling(7, *calls, language=language), seed).messages
        results = before[2:]
        assert [(turn["role"], turn["tool_call_id"]) for turn in results] == [("tool", entry["id"]) for entry in calls]
        failed = ["error" in turn["content"] or '"success": false' in turn["content"] for turn in results]
        sentence = answer["content"]
        assert ("did not work" in sentence or "没有成功" in sentence) == any(failed)
        assert "x" * 61 not in sentence
        if not any(failed):
            succeeded += 1
            assert all(value in sentence for value in values), sentence
            assert sentence.startswith({"en": "Done", "zh": "已完成"}[language])
    assert 5 < succeeded < 40


@pytest.mark.parametrize(("language", "name"), [("en", "get_stock_price"), ("zh", "queryBalance"), ("en", "list")])
def test_what_a_query_returned_is_in_the_sentence(language: str, name: str) -> None:
    for seed in range(20):
        _, _, result, answer = with_result(calling(3, call(name, {"id": "A1"}), language=language), seed).messages
        if "error" not in result["content"] and '"success": false' not in result["content"]:
            value = answer["content"].rstrip(".。").split("：" if language == "zh" else " ")[-1]
            assert value in result["content"]


def test_the_legacy_form_gets_a_result_of_its_own_role() -> None:
    legacy = example(1, {"role": "assistant", "function_call": {"name": "f", "arguments": '{"a": 1}'}})
    result = with_result(legacy, 1).messages[2]
    assert (result["role"], result["name"]) == ("function", "f")


def test_of_the_continuation_only_the_sentence_is_trained(tiny_base: Any) -> None:
    renderer = Renderer(tiny_base)
    before, after = calling(1), with_result(calling(1), 1)
    short, long = renderer.example(before), renderer.example(after)
    assert long.ids[: len(short.ids)] == short.ids
    assert long.weights[: len(short.weights)] == short.weights
    rest = range(len(short.ids), len(long.ids))
    trained = renderer.decode([long.ids[index] for index in rest if long.weights[index]])
    assert trained == after.messages[-1]["content"] + "<|im_end|>"
