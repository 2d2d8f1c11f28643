"""A file shows by its lines which training method it is for, and is checked, counted and split accordingly."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.file_check import check_file, checked_examples, job_error
from luthier.data.check.method import recognised_method
from luthier.data.jsonl.reader import read_lines
from luthier.data.rendering.renderer import Renderer
from luthier.data.repair import repair_file
from luthier.data.split.splitter import Output, split_file
from luthier.data.token_stats import measure


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


CHAT = {"messages": [user("Two and two?"), assistant("Four.")]}
OUTPUTS = {"preferred_output": [assistant("Yes")], "non_preferred_output": [assistant("No")]}
PAIR = {"input": {"messages": [user("Two?")]}, **OUTPUTS}
ITEM = {"messages": [user("Two and two?")], "solution": "4", "rubric": {"strict": True}, "tools": None}


def write(folder: Path, *examples: Any) -> Path:
    path = folder / "f.jsonl"
    path.write_text("".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples))
    return path


@pytest.mark.parametrize(
    ("examples", "method"),
    [
        ([PAIR] * 3, "dpo"),
        ([{**PAIR, "preferred_output": None}] * 3, "dpo"),
        ([PAIR, CHAT], "supervised"),
        ([ITEM] * 3, "reinforcement"),
        ([{**ITEM, "solution": 4}] * 2, "reinforcement"),
        ([ITEM, CHAT], "supervised"),
        ([{"messages": [user("a")]}] * 3, "supervised"),  # answers are missing
        ([{"messages": [user("a")], "id": "7", "source": "web"}] * 3, "supervised"),
        ([{**CHAT, "solution": "4"}] * 3, "supervised"),
        ([3, [], None], "supervised"),
        ([], "supervised"),
    ],
)
def test_methods_are_recognised(tmp_path: Path, examples: list[Any], method: str) -> None:
    assert recognised_method(write(tmp_path, *examples)) == method


def test_lines_that_are_no_json_do_not_hide_the_method(tmp_path: Path) -> None:
    path = write(tmp_path, PAIR)
    path.write_text("{'a'}\n" + path.read_text())
    assert recognised_method(path) == "dpo"
    path.write_bytes(b"\xff\xfe\x00")
    assert recognised_method(path) == "supervised"


@pytest.mark.parametrize(
    ("item", "codes"),
    [
        (ITEM, set()),
        ({**ITEM, "messages": [user("a"), assistant("b"), user("c")]}, set()),
        ({**ITEM, "reasoning": "any field", "history": [1], "label": False}, set()),
        ({**ITEM, "messages": [user("a"), assistant("b")]}, {"item_last_message"}),
        ({**ITEM, "messages": []}, {"missing_messages_list"}),
        ({**ITEM, "messages": [{"role": "user"}]}, {"message_missing_key"}),
        ({**ITEM, "messages": [{"role": "you", "content": "a"}]}, {"unrecognized_role"}),
        ({**ITEM, "tools": [3]}, {"definition_invalid"}),
        (PAIR, {"method_mismatch"}),
        ({"prompt": "a", "completion": "b"}, {"method_mismatch"}),
        (7, {"data_type"}),
    ],
)
def test_items_of_reinforcement(tmp_path: Path, item: Any, codes: set[str]) -> None:
    path = write(tmp_path, *[item] * 2)
    report = check_file(path, method="reinforcement", minimum_examples=1)
    assert {finding.code for finding in report.findings} == codes
    out, rejects = io.BytesIO(), io.BytesIO()
    repair_file(path, out, rejects, method="reinforcement")
    is_clean = not codes or codes == {"method_mismatch"}
    assert (out.getvalue() == path.read_bytes()) == is_clean


def test_both_answers_of_a_pair_are_counted(tmp_path: Path, tiny_base: Path) -> None:
    renderer = Renderer(tiny_base)
    pair = {**PAIR, "input": {"messages": [user("One?"), assistant("Yes"), user("Two?")]}}
    path = write(tmp_path, pair, {**pair, "non_preferred_output": [assistant("No, never")]}, {**pair, "input": 3})
    stats = measure(path, renderer, 2048, method="dpo")
    first, second = checked_examples(next(read_lines(path)), "dpo")
    assert (stats.counted, stats.messages) == (2, [8, 8])
    assert stats.tokens[0] == len(renderer.example(first).ids) + len(renderer.example(second).ids)
    assert stats.trained[0] == len("Yes") + 1 + len("No") + 1  # the answers and their ends, none of the input
    cut = measure(path, renderer, 60, method="dpo")
    assert {finding.code for finding in cut.findings} == {"nothing_trainable_in_context"}


def test_items_are_counted_with_nothing_trained(tmp_path: Path, tiny_base: Path) -> None:
    stats = measure(write(tmp_path, ITEM, ITEM), Renderer(tiny_base), 2048, method="reinforcement")
    assert (stats.counted, stats.trained) == (2, [0, 0])


def test_pairs_with_one_question_stay_together(tmp_path: Path) -> None:
    topics = ["the moon landing", "how to bake rye bread", "a broken bicycle chain", "Dutch verbs", "the price of tin"]
    questions = [f"Please tell me about {topic}" for topic in topics for _ in range(3)]
    pairs = [{**PAIR, "input": {"messages": [user(question)]}, "preferred_output": [assistant(f"answer {n} " * 9)]}
             for n, question in enumerate(questions)]  # fmt: skip
    path, out = write(tmp_path, *pairs), tmp_path / "valid.jsonl"
    result = split_file(path, tmp_path / "train.jsonl", [Output("validation", out, 0.2)])
    assert (result.groups, result.overlap, result.largest_group) == (5, 0, 3)


@pytest.mark.parametrize("answer", [{}, {"role": "assistant"}, {"role": "you", "content": "a"}, {"content": 3}])
def test_a_fault_in_an_answer_of_a_pair_fails_the_job_by_its_name(tmp_path: Path, answer: dict[str, Any]) -> None:
    path = write(tmp_path, *[{**PAIR, "preferred_output": [answer]}] * 10)
    error = job_error(check_file(path, method="dpo"), file_id="file-1")
    assert error is not None
    assert error.message.startswith("The job failed due to an invalid training file.")
