"""What a training file says of itself, and that it survives a folder."""

import json
from pathlib import Path
from typing import Any

from luthier.data.check.file_check import check_file
from luthier.data.examples.adapter_metadata import AdapterMetadata, Survey, read, read_survey, survey

PING = {"name": "ping", "parameters": {"type": "object", "properties": {}}}
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_definitions_and_form_of_legacy_data(tmp_path: Path) -> None:
    metadata = survey(written(tmp_path, {"messages": CHAT}, {"messages": CHAT, "functions": [PING]}))
    assert metadata == AdapterMetadata("functions", False, [{"type": "function", "function": PING}])
    metadata.write(tmp_path)
    assert read(tmp_path) == metadata


def test_pairs_and_preferences(tmp_path: Path) -> None:
    assert survey(written(tmp_path, {"prompt": "q", "completion": "a"})) == AdapterMetadata(pairs=True)
    tools = [{"type": "function", "function": PING}]
    sides = {"preferred_output": CHAT[1:], "non_preferred_output": CHAT[1:]}
    metadata = survey(written(tmp_path, {"input": {"messages": CHAT[:1], "tools": tools}, **sides}))
    assert metadata == AdapterMetadata("tools", False, tools)


def test_what_the_data_leaves_open_is_the_parents(tmp_path: Path) -> None:
    parent = AdapterMetadata("functions", False, [{"type": "function", "function": PING}])
    assert survey(written(tmp_path, {"messages": CHAT}), parent) == parent


def test_an_adapter_that_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == AdapterMetadata()


def test_validation_surveys_in_the_same_pass(tmp_path: Path) -> None:
    """Plain chats, which bulk validation passes without parsing, have nothing to add."""
    tools = [{"type": "function", "function": PING}]
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "ping", "arguments": "{}"}}],
    }
    path = written(
        tmp_path,
        {"messages": CHAT},
        {"messages": [CHAT[0], call], "tools": tools},
        {"messages": CHAT, "functions": [PING]},
        {"prompt": "q", "completion": "a"},
    )
    file_survey = Survey()
    assert check_file(path, minimum_examples=1, survey=file_survey).ok
    assert file_survey.metadata() == survey(path) == AdapterMetadata("tools", True, tools, copied={"ping": {}})
    assert read_survey(tmp_path) is None
    file_survey.metadata().write(tmp_path)
    assert read_survey(tmp_path) == file_survey.metadata()
