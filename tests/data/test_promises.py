"""A remedy that says that `--fix` repairs a fault is true: the line is written, unless another fault rejects it."""

import io
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.jsonl.reader import Line
from luthier.data.repair import errors_of, repair_file
from property_examples import example_count

PROMISES = ("--fix does it.", "--fix moves it.", "--fix renames it")
USER = {"role": "user", "content": "What is a bond?"}
ANSWER = {"role": "assistant", "content": "A loan."}
CALL = {"name": "weather", "arguments": "{}"}
FLAGS = ["is_train", "trainable", "loss", "skip", "ignore", "learn", "不训练", "mask"]

flags = st.dictionaries(st.sampled_from(FLAGS), st.sampled_from([True, False, 0, 1, "no", "yes", "?"]), max_size=2)
weights = st.dictionaries(st.just("weight"), st.sampled_from([0, 1, None, False, "0"]), max_size=1)
reasoning = st.dictionaries(
    st.sampled_from(["thinking", "cot", "reasoning_content", "rationale"]),
    st.sampled_from(["Hm.", "", None]),
    max_size=2,
)
parts = st.lists(
    st.sampled_from(
        [
            {"type": "text", "text": "A loan."}, {"type": "output_text", "text": "A loan."},
            {"type": "input_text", "text": "A loan.", "annotations": []}, {"type": "thinking", "thinking": "Hm."},
            {"type": "output_text", "text": 7}, {"type": "input_text", "text": "A loan.", "annotations": ["1"]},
            {"type": "refusal", "refusal": "No."}, {"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
            {"type": "thinking", "thinking": "Hm.", "signature": 1}, {"type": "tool_result", "tool_use_id": "t1"},
        ]
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip
contents = st.sampled_from(["A loan.", "", None, 7]) | parts
calls = st.sampled_from(
    [{}, {"tool_calls": [{"id": "1", "type": "function", "function": CALL}]}, {"function_call": CALL}]
    + [{"function_call": CALL | {"arguments": text}} for text in ("[]", json.dumps("{}"), json.dumps("[1]"), "")]
)
others = st.dictionaries(st.just("refusal"), st.sampled_from(["No.", None]), max_size=1)
roles = st.sampled_from(["user", "assistant", "assistant", "system", "tool"])
messages = st.builds(
    lambda role, content, *extras: {"role": role, "content": content} | {k: v for e in extras for k, v in e.items()},
    roles, contents | st.just("A loan."), flags, weights, reasoning | st.just({}), calls | st.just({}), others,
)  # fmt: skip
lists = st.lists(messages, min_size=1, max_size=3).map(lambda turns: [USER, *turns])
texts = lists.map(json.dumps) | lists.map(str) | st.sampled_from(["[1]", "[", "Hello", "{}", '"Hello"', "[] []"])
keys = st.dictionaries(
    st.sampled_from(["system", "instructions", "loss", "rating"]), st.sampled_from(["Be brief.", 1, ["x"]]), max_size=2
)
chats = st.builds(lambda turns, extra: {"messages": turns} | extra, lists | texts, keys)
pairs = st.builds(
    lambda chat, *answers: {"input": chat, "preferred_output": answers[0], "non_preferred_output": answers[1]},
    chats, *[st.lists(messages, min_size=1, max_size=1) | messages] * 2,
)  # fmt: skip


def kept_promises(path: Path, text: str, method: str) -> bool:
    """Whether the line has a fault without a promise, or is repaired."""
    errors = list(errors_of(Line(1, text.encode(), len(text)), method))
    path.write_text(text + "\n", encoding="utf-8")
    rejects = io.BytesIO()
    repair_file(path, io.BytesIO(), rejects, method=method)
    are_promised = all(any(promise in error.remedy("en") for promise in PROMISES) for error in errors)
    return not (are_promised and rejects.getvalue())


@given(example=chats, method=st.sampled_from(["supervised", "reinforcement"]))
@settings(max_examples=example_count(200))
def test_chats(tmp_path: Path, example: Any, method: str) -> None:
    assert kept_promises(tmp_path / "f", json.dumps(example), method)


@given(example=pairs)
@settings(max_examples=example_count(200))
def test_pairs(tmp_path: Path, example: Any) -> None:
    assert kept_promises(tmp_path / "f", json.dumps(example), "dpo")
