"""Questions from every kind of data that a service trains on."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.migrate.questions import common_end, endpoint_of, questions_of, read_examples

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
ASK, SAY = {"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}


def examples_of(tmp_path: Path, rows: list[Any]) -> list[dict[str, Any]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return read_examples(path, "validation")


def pairs(*answers: str) -> list[dict[str, str]]:
    return [{"prompt": f"q{number} ->", "completion": answer} for number, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answers", "end"),
    [
        ((" yes END", " no END"), " END"),
        ((" Ja, gern.\n", " Nein.\n"), "\n"),
        (("你好。###", "再见###"), "###"),
        (("It rained. It stopped.", "No."), None),  # a mark that also stands in the middle would cut an answer off
        ((" positive", " negative"), None),
        (("same END", "same END"), None),
        ((" END", "a END"), None),
        ((), None),
    ],
)
def test_the_mark_that_ends_every_answer(tmp_path: Path, answers: tuple[str, ...], end: str | None) -> None:
    assert common_end(examples_of(tmp_path, pairs(*answers))) == end


def test_prompts_with_completions_go_to_models_that_complete_texts(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, [*pairs(" a\n", " b\n"), {"messages": [ASK, SAY, ASK, SAY]}, "not json\n", "3\n"])
    questions = questions_of(examples, "validation", None, ("full", "none"), endpoint_of("davinci-002"))
    assert [question.body for question in questions] == [{"prompt": "q0 ->"}, {"prompt": "q1 ->"}]
    pairs_alone = questions_of(examples[:2], "validation", None, ("full",), endpoint_of("babbage-002"))
    assert [question.body["stop"] for question in pairs_alone] == ["\n", "\n"]
    assert all(question.endpoint == "/v1/completions" for question in questions)
    assert questions[0].reference == {"role": "assistant", "content": " a\n"}
    assert questions[0].max_prompt_tokens >= len("q0 ->")


def test_prompts_with_completions_are_messages_for_other_models(tmp_path: Path) -> None:
    [question] = questions_of(examples_of(tmp_path, pairs(" a")), "validation", None, ("full",), endpoint_of("gpt-4o"))
    assert question.body == {"messages": [{"role": "user", "content": "q0 ->"}]}
    assert question.endpoint == "/v1/chat/completions"


def test_a_preference_asks_its_input_with_and_without_definitions(tmp_path: Path) -> None:
    pair = {"preferred_output": [SAY], "non_preferred_output": [{"role": "assistant", "content": "no"}]}
    examples = examples_of(tmp_path, [{"input": {"messages": [ASK], "tools": [TOOL]}, **pair}])
    full, none = questions_of(examples, "validation", None, ("full", "none"))
    assert full.body == {"messages": [ASK], "tools": [TOOL]}
    assert none.body == {"messages": [ASK]}
    assert full.reference == none.reference == SAY
