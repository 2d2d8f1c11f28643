"""Every kind of finding: what triggers it, and what nearly does."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file, job_error
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.check.structure import check_example
from luthier.data.check.structure.messages import MESSAGE_KEYS, ROLES
from luthier.data.findings import (
    CATALOGUE,
    MAX_FINDINGS_PER_KIND,
    Finding,
    FindingError,
    Report,
    make_finding,
    printable,
)
from luthier.data.findings.structure import STRUCTURE
from luthier.data.jsonl.columnar_parser import ChatColumns
from luthier.data.jsonl.reader import MAX_LINE_BYTES, parse_line, read_lines
from property_examples import example_count

USER = {"role": "user", "content": "What is a bond?"}
ANSWER = {"role": "assistant", "content": "A loan."}
ARGUMENTS = '{"city": "Rome"}'
CALL = {"role": "assistant", "function_call": {"name": "weather", "arguments": ARGUMENTS}}
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
PROPERTIES = {
    "city": {"type": "string", "minLength": 1, "pattern": "^(R+)+$"},
    "days": {"type": "integer", "minimum": 1},
    "unit": {"type": "string", "enum": ["C", "F"]},
}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"], "additionalProperties": False}
STRICT = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
OTHER = {"role": "assistant", "content": "A bond is a loan to a firm."}


def chat(*messages: Any, **keys: Any) -> dict[str, Any]:
    return {"messages": list(messages), **keys}


def tool_call(arguments: Any = ARGUMENTS, name: Any = "weather", **keys: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **keys}
    return {"role": "assistant", "tool_calls": [call]}


def answer(**keys: Any) -> dict[str, Any]:
    return chat(USER, ANSWER | keys)


GOOD = [
    chat(USER, ANSWER),
    chat(USER, CALL),
    chat(USER, CALL | {"content": None}),
    chat(USER, tool_call(), tools=[TOOL], parallel_tool_calls=False),
    chat(USER, CALL, functions=[FUNCTION]),
    chat(USER, tool_call("{}") | {"content": [{"type": "text", "text": ""}]}),
    chat({"role": "developer", "content": "Be brief.", "name": "boss"}, USER, ANSWER),
    chat(USER, tool_call(), {"role": "tool", "content": "{}", "tool_call_id": "call_1"}, ANSWER),
    chat(USER, CALL, {"role": "function", "content": "{}", "name": "weather"}, ANSWER),
    chat(USER, ANSWER | {"function_call": None, "tool_calls": None, "refusal": None, "audio": None, "weight": None}),
    chat({"role": "user", "content": [{"type": "text", "text": "Hello"}]}, ANSWER, tools=[], functions=None),
    {"prompt": "", "completion": "Hello."},
]

BAD_WEIGHTS: list[Any] = [2, 0.5, -1, True, "1", []]

# code: (examples with the fault, examples that nearly have it)
CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "data_type": ([[chat(USER, ANSWER)], "text", 1, None], []),
    "missing_messages_list": (
        [{"messages": []}, {"messages": None}, {"messages": "x"}, {"prompt": "x"}],
        [{"prompt": "x", "completion": "y"}],
    ),
    "message_type": ([chat("hello", ANSWER), chat(None, ANSWER)], []),
    "message_missing_key": (
        [chat({"content": "x"}, ANSWER), chat({"role": "user"}, ANSWER), chat(USER, {"role": "assistant"})],
        [chat(USER, CALL), chat(USER, tool_call())],
    ),
    "message_unrecognized_key": (
        [chat(USER | {"text": "x"}, ANSWER), chat(USER | CALL | {"role": "user"}, ANSWER)],
        [chat(USER | {"function_call": None}, ANSWER), chat(USER | {"name": "Ann"}, ANSWER)],
    ),
    "unrecognized_role": (
        [chat(USER | {"role": role}, ANSWER) for role in ("bot", "User", "", None, 1, ["user"])],
        [chat(USER | {"role": "developer"}, ANSWER)],
    ),
    "missing_content": (
        [
            answer(content=None),
            answer(content=""),
            answer(content=[]),
            answer(content=None, tool_calls=[]),
            answer(content=None, refusal="No."),
            chat({"role": "system", "content": ""}, USER, ANSWER),
            {"prompt": "x", "completion": ""},
            answer(content=" "),
            answer(content="\u3000\n"),
            answer(content=[{"type": "text", "text": " "}]),
            {"prompt": "x", "completion": "\n "},
        ],
        [answer(content=" a"), {"prompt": " ", "completion": " a"}, chat(USER, CALL | {"content": ""})],
    ),
    "content_type": (
        [
            answer(content=1),
            answer(content={"text": "x"}),
            answer(content=["x"]),
            answer(content=[{"type": "text"}]),
            answer(content=[{"type": "image_url", "image_url": {"url": "x"}}]),
            answer(name=1),
            {"prompt": 1, "completion": "x"},
        ],
        [answer(content=[{"type": "text", "text": "x"}, {"type": "text", "text": "y"}])],
    ),
    "example_missing_assistant_message": ([chat(USER)], [chat(ANSWER)]),
    "last_message_not_assistant": ([chat(USER, ANSWER, USER)], [chat(USER, ANSWER, USER, ANSWER)]),
    "unrecognized_key": ([chat(USER, ANSWER, id=7), {"prompt": "x", "completion": "y", "id": 7}], []),
    "call_invalid": (
        [
            chat(USER, CALL | {"function_call": "weather"}),
            chat(USER, CALL | {"function_call": {}}),
            chat(USER, tool_call(name="")),
            chat(USER, tool_call(name=1)),
            chat(USER, tool_call(type="custom")),
            chat(USER, tool_call(id=1)),
            chat(USER, {"role": "assistant", "tool_calls": {"name": "weather"}}),
            chat(USER, {"role": "assistant", "tool_calls": ["weather"]}),
        ],
        [chat(USER, {"role": "assistant", "tool_calls": [{"function": CALL["function_call"]}]})],
    ),
    "arguments_not_json": (
        [chat(USER, tool_call(bad)) for bad in ({"city": "Rome"}, None, "", "{'city': 1}", "{", '{"a": NaN}')],
        [chat(USER, tool_call(" {} "))],
    ),
    "arguments_not_object": ([chat(USER, tool_call(bad)) for bad in ("[]", "1", '"x"', "null")], []),
    "arguments_encoded_twice": ([chat(USER, tool_call(json.dumps(ARGUMENTS)))], []),
    "argument_missing": (
        [chat(USER, tool_call("{}"), tools=[STRICT])],
        [chat(USER, tool_call(ARGUMENTS), tools=[STRICT]), chat(USER, tool_call("{}"))],
    ),
    "argument_unknown": (
        [chat(USER, tool_call('{"city": "Rome", "x": 1}'), tools=[STRICT])],
        [chat(USER, tool_call('{"city": "Rome", "days": 2}'), tools=[STRICT])],
    ),
    "argument_type": (
        [
            chat(USER, tool_call('{"city": 7}'), tools=[STRICT]),
            chat(USER, tool_call('{"city": "Rome", "days": "2"}'), tools=[STRICT]),
            chat(USER, tool_call('{"city": "Rome", "days": true}'), tools=[STRICT]),
            chat(USER, CALL, functions=[{"name": "weather", "parameters": {"properties": {"city": {"type": "null"}}}}]),
        ],
        [chat(USER, tool_call('{"city": "Rome", "days": 2.0}'), tools=[STRICT])],
    ),
    "argument_not_in_enum": (
        [chat(USER, tool_call('{"city": "Rome", "unit": "K"}'), tools=[STRICT])],
        [chat(USER, tool_call('{"city": "Rome", "unit": "C"}'), tools=[STRICT])],
    ),
    "arguments_break_schema": (
        [
            chat(USER, tool_call('{"city": ""}'), tools=[STRICT]),
            chat(USER, tool_call('{"city": "R", "days": 0}'), tools=[STRICT]),
        ],
        [chat(USER, tool_call('{"city": "R", "days": 1}'), tools=[STRICT])],
    ),
    "definition_repeated": (
        [chat(USER, ANSWER, tools=[TOOL, TOOL]), chat(USER, ANSWER, functions=[FUNCTION, {"name": "weather"}])],
        [chat(USER, ANSWER, tools=[TOOL], functions=[FUNCTION])],
    ),
    "definitions_many": (
        [chat(USER, ANSWER, functions=[{"name": f"f{number}"} for number in range(129)])],
        [chat(USER, ANSWER, functions=[{"name": f"f{number}"} for number in range(128)])],
    ),
    "call_id_repeated": (
        [chat(USER, tool_call() | {"tool_calls": tool_call()["tool_calls"] * 2})],
        [chat(USER, tool_call())],
    ),
    "definition_schema_invalid": (
        [
            chat(USER, ANSWER, functions=[{"name": "f", "parameters": {"type": "dict"}}]),
            chat(USER, ANSWER, functions=[{"name": "f", "parameters": {"required": True}}]),
        ],
        [chat(USER, ANSWER, functions=[{"name": "f", "parameters": {}}])],
    ),
    "call_without_result": (
        [
            chat(USER, tool_call(), USER, ANSWER),
            chat(USER, CALL, ANSWER),
        ],
        [chat(USER, tool_call()), chat(USER, CALL)],
    ),
    "preference_invalid": (
        [
            {"input": "Hi", "preferred_output": [ANSWER], "non_preferred_output": [OTHER]},
            {"input": chat(USER), "preferred_output": [], "non_preferred_output": [OTHER]},
            {"input": chat(USER), "preferred_output": [ANSWER, ANSWER], "non_preferred_output": [OTHER]},
            {"input": chat(USER), "preferred_output": [USER], "non_preferred_output": [OTHER]},
            {"input": chat(USER), "preferred_output": [ANSWER]},
        ],
        [],
    ),
    "preference_same": ([{"input": chat(USER), "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}], []),
    "definition_invalid": (
        [
            chat(USER, ANSWER, tools={"weather": FUNCTION}),
            chat(USER, ANSWER, tools=[FUNCTION]),
            chat(USER, ANSWER, tools=[TOOL | {"type": "custom"}]),
            chat(USER, ANSWER, functions=[TOOL]),
            chat(USER, ANSWER, functions=[FUNCTION | {"parameters": "none"}]),
            chat(USER, ANSWER, functions=["weather"]),
            chat(USER, ANSWER, parallel_tool_calls="no"),
        ],
        [chat(USER, ANSWER, functions=[{"name": "now"}], parallel_tool_calls=None)],
    ),
    "undefined_function": (
        [chat(USER, tool_call(name="wether"), tools=[TOOL]), chat(USER, CALL, functions=[{"name": "rain"}])],
        [chat(USER, tool_call(), functions=[FUNCTION]), chat(USER, tool_call(), tools=[])],
    ),
    "tool_result_without_call": (
        [
            chat(USER, tool_call(), {"role": "tool", "content": "1", "tool_call_id": "call_2"}, ANSWER),
            chat(USER, tool_call(), {"role": "tool", "content": "1"}, ANSWER),
            chat({"role": "function", "content": "1", "name": "weather"}, CALL),
        ],
        [],
    ),
    "weight_invalid": (
        [answer(weight=bad) for bad in BAD_WEIGHTS] + [chat(USER | {"weight": 1}, ANSWER)],
        [answer(weight=1), answer(weight=1.0)],
    ),
    "nothing_trainable": (
        [answer(weight=0), chat(USER, ANSWER | {"weight": 0}, USER, ANSWER | {"weight": 0})],
        [chat(USER, ANSWER | {"weight": 0}, USER, ANSWER)],
    ),
}


def raw(*examples: Any) -> bytes:
    return b"".join(json.dumps(example, ensure_ascii=False).encode() + b"\n" for example in examples)


def different(n: int) -> list[dict[str, Any]]:
    return [chat({"role": "user", "content": str(number)}, ANSWER) for number in range(n)]


# code: (a file with the fault, a file that nearly has it)
FILES: dict[str, tuple[bytes, bytes]] = {
    "encoding_invalid": ('{"a": "中"}'.encode("gbk"), '{"a": "中"}'.encode("utf-8-sig")),
    "json_invalid": (b'{"messages": [}', b'{"messages": []}'),
    "escape_invalid": (b'{"messages": "C:\\Work"}', b'{"messages": "C:\\\\Work"}'),
    "smart_quotes": ("{“messages”: []}".encode(), '{"messages": "“”"}'.encode()),
    "full_width_punctuation": ('{"messages"：[]，"a": 1}'.encode(), '{"messages": "：，"}'.encode()),
    "trailing_comma": (b'{"messages": [1, ] }', b'{"messages": [",]", "}"]}'),
    "python_repr": (b"{'messages': None}", b'{"messages": "None, \'x\'"}'),
    "control_character": (b'{"messages": "a\tb"}', b'{"messages":\t"a\\tb"}'),
    "line_truncated": (
        b'{"messages": [{"role": "user", "content": "What is a bond?"}, {"role": "assista',
        b'{"messages": [{"role": "user", "content": "What is a bond?"}, {"role": "assista"}]}',
    ),
    "duplicate_key": (
        b'{"messages": [], "a": {"b": 1, "b": 1}}',
        b'{"messages": [], "a": {"b": 1, "\\"b": 1}, "b": 2}',
    ),
    "number_invalid": (b'{"messages": NaN}', b'{"messages": "NaN"}'),
    "nesting_too_deep": (b"[" * 101 + b"]" * 101, b"[" * 100 + b"]" * 100),
    "lone_surrogate": (b'"\\ud83d"', b'"\\ud83d\\ude00"'),
    "methods_mixed": (
        raw(GOOD[0], {"input": chat(USER), "preferred_output": [ANSWER], "non_preferred_output": [OTHER]}),
        raw({"input": chat(USER), "preferred_output": [ANSWER], "non_preferred_output": [OTHER]}),
    ),
    "file_empty": (b"\xef\xbb\xbf\n \r\n", b"1\n"),
    "too_few_examples": (raw(*different(9)), b"\n" + raw(*different(10))),
    "unexpected_format": (raw({"text": "x"}, {"prompt": "x"}), raw({"text": "x"}, {"messages": []})),
    "method_mismatch": (raw({"input": chat(USER), "preferred_output": [ANSWER]}), raw(chat(USER, ANSWER))),
    "duplicate_example": (raw(GOOD[0], dict(reversed(GOOD[0].items())), GOOD[0]), raw(*different(3))),
    "line_too_long": (
        b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}\n',
        b'{"a": "' + b"x" * (MAX_LINE_BYTES - 10) + b'"}\n',
    ),
}


@pytest.fixture
def check(tmp_path: Path) -> Any:
    def run(content: bytes, **options: Any) -> Report:
        path = tmp_path / "file.jsonl"
        path.write_bytes(content)
        return check_file(path, **options)

    return run


def test_every_kind_is_tested() -> None:
    converting = {"converted_from", "byte_order_mark", "encoding_ambiguous", "columns_ambiguous", "sheets_ambiguous"}
    elsewhere = {"item_last_message", "expansion_too_large"}  # test_method.py, test_unpacking.py
    assert CASES.keys() | FILES.keys() | converting | elsewhere == STRUCTURE.keys()


@pytest.mark.parametrize("example", GOOD)
def test_good_examples_have_no_findings(check: Any, example: Any) -> None:
    report = check(raw(example), minimum_examples=1)
    assert report.ok
    assert report.findings == []


@pytest.mark.parametrize("code", CASES)
def test_examples(check: Any, code: str) -> None:
    faulty, near = CASES[code]
    for example in faulty:
        report = check(raw(example), minimum_examples=1)
        assert report.counts[code] == 1, example
        assert report.ok == (CATALOGUE[code].severity != "error"), example
        unlocated = [f.code for f in report.findings if f.line is None]
        assert unlocated in ([], ["unexpected_format"], ["method_mismatch"]), example
    for example in near:
        assert check(raw(example), minimum_examples=1).counts == {}, example


@pytest.mark.parametrize("code", FILES)
def test_files(check: Any, code: str) -> None:
    faulty, near = (check(content, quality=Looker()) for content in FILES[code])
    assert faulty.counts[code] >= 1
    assert near.counts[code] == 0


def test_one_cause_is_one_finding(check: Any) -> None:
    """A fault does not drag others along, so the counts are what a person has to fix."""
    for code, (faulty, _) in CASES.items():
        for example in faulty:
            extra = set(check(raw(example), minimum_examples=1).counts) - {code}
            assert extra <= {"unexpected_format", "undefined_function", "method_mismatch"}, (code, example, extra)


@pytest.mark.parametrize(
    "names", [("preferred_output", "non_preferred_output"), ("preferred_completion", "non_preferred_completion")]
)
def test_a_good_preference_pair_has_no_findings(check: Any, names: tuple[str, str]) -> None:
    prompt = chat(USER, tools=[STRICT], parallel_tool_calls=True)
    example = {"input": prompt, names[0]: [tool_call()], names[1]: [OTHER]}
    assert check(raw(example), minimum_examples=1, method="dpo").counts == {}
    bad = {**example, names[0]: [tool_call('{"city": 1}')], names[1]: [OTHER | {"content": 2}]}
    report = check(raw(bad), minimum_examples=1, method="dpo")
    assert [(f.code, f.key) for f in report.findings] == [
        ("content_type", f"{names[1]}.content"),
        ("argument_type", f"{names[0]}.tool_calls[0].function.arguments.city"),
    ][:: 1 if report.findings[0].code == "content_type" else -1]


def test_nothing_from_a_schema_is_fetched_or_run(check: Any) -> None:
    """A reference to elsewhere, one to itself, and an expression that would run for ages."""
    wide = "a" * 40 + "!"
    schemas: list[Any] = [
        {"$ref": "http://127.0.0.1:9/x"},
        {"$ref": "#"},
        {"properties": {"city": {"pattern": "(a+)+$"}}},
    ]
    for schema in schemas:
        arguments = json.dumps({"city": wide})
        example = chat(USER, tool_call(arguments), functions=[{"name": "weather", "parameters": schema}])
        assert check(raw(example), minimum_examples=1).ok


def test_a_function_may_return_nothing(check: Any) -> None:
    empty = {"role": "tool", "content": "", "tool_call_id": "call_1"}
    report = check(raw(chat(USER, tool_call(), empty, ANSWER)), minimum_examples=1)
    assert [(f.code, f.severity) for f in report.findings] == [("missing_content", "warning")]


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_white_space_of_others_may_be_meant(check: Any, role: str) -> None:
    report = check(raw(chat({"role": role, "content": " \u3000"}, USER, ANSWER)), minimum_examples=1)
    assert [(f.code, f.severity) for f in report.findings] == [("missing_content", "warning")]


def test_places_count_lines_with_blanks_examples_without(check: Any) -> None:
    report = check(b"\n\n" + raw(*different(10)) + b"\n" + raw(chat(USER, ANSWER, {"content": "x"}, ANSWER)))
    (finding,) = report.findings
    assert (finding.line, finding.example, finding.message_index, finding.key) == (14, 11, 2, "role")
    assert finding.text("en") == 'line 14, message 3: the message has no "role"'
    assert finding.text("zh") == "第 14 行第 3 条消息：消息缺少 “role”"
    assert "“role”" in finding.remedy("zh")


def test_duplicates_name_the_first(check: Any) -> None:
    report = check(FILES["duplicate_example"][0], minimum_examples=1, quality=Looker())
    assert report.ok
    match = [f for f in report.findings if f.code == "duplicate_example"]
    assert [(f.line, f.detail) for f in match] == [(2, "1"), (3, "1")]


def test_the_same_question_with_other_definitions_is_no_duplicate(check: Any) -> None:
    content = raw(chat(USER, CALL), chat(USER, CALL, functions=[FUNCTION]))
    assert check(content, minimum_examples=1, quality=Looker()).counts["duplicate_example"] == 0


def test_a_file_that_is_not_text_says_only_that(check: Any) -> None:
    assert check(raw(*different(12)).decode().encode("utf-16")).counts == {"encoding_invalid": 1}
    gbk = raw(*different(11)) + '{"messages": "中"}'.encode("gbk")
    assert [(f.code, f.line) for f in check(gbk).findings] == [("encoding_invalid", 12)]


def test_progress_reaches_the_last_line(check: Any) -> None:
    positions: list[int] = []
    content = raw(*different(10))
    check(content + b"\n\n", on_progress=positions.append)
    assert positions[-1] == len(content) + 2
    assert positions == sorted(positions)


def test_a_flood_of_faults_is_counted_but_not_kept(check: Any) -> None:
    report = check(b"{\n" * (MAX_FINDINGS_PER_KIND + 50))
    assert report.counts["json_invalid"] == MAX_FINDINGS_PER_KIND + 50
    assert len(report.findings) == MAX_FINDINGS_PER_KIND


OPENING = "The job failed due to an invalid training file. "
INVALID = OPENING + "Invalid file format. "


@pytest.mark.parametrize(
    ("content", "method", "code", "message"),
    [
        (
            raw(*different(3)),
            "supervised",
            "invalid_n_examples",
            "Training file has 3 example(s), but must have at least 10 examples",
        ),
        (
            b"",
            "supervised",
            "invalid_n_examples",
            "Training file has 0 example(s), but must have at least 10 examples",
        ),
        (
            raw(*different(99), chat(USER, {"content": "x"})),
            "supervised",
            "invalid_training_file",
            INVALID + "Example 100, message 2 Discriminator 'role' is missing in value",
        ),
        (
            b'{\n"messages": []\n}\n',
            "supervised",
            "invalid_training_file",
            INVALID + "Expected file to have JSONL format, where every line is a JSON dictionary. "
            'Line 1 is not a dictionary (HINT: line starts with: "{...").',
        ),
        (
            raw(chat(USER, tool_call(), {"role": "tool", "content": 129.0, "tool_call_id": "call_1"}, ANSWER)),
            "supervised",
            "invalid_training_file",
            INVALID + 'Line 1, message 3, key "content": Input should be a valid string',
        ),
        (
            raw(answer(content=None)),
            "supervised",
            "invalid_training_file",
            INVALID + 'Line 1, message 2, key "__root__": At least one of content or function_call must be set.',
        ),
        (
            raw({"text": "x"}),
            "supervised",
            "invalid_training_file",
            OPENING + "Unexpected file format, expected either prompt/completion pairs or chat messages.",
        ),
        (
            raw(*different(10)),
            "dpo",
            "invalid_training_file",
            INVALID + "Input file file-X is in the fine-tune-chat format, but the specified fine-tuning job is not "
            "using 'supervised' as the training method (provided method=dpo).",
        ),
    ],
)
def test_a_failed_job_is_worded_as_openai_does(
    check: Any, content: bytes, method: str, code: str, message: str
) -> None:
    error = job_error(check(content, method=method), file_id="file-X")
    assert error is not None
    assert (error.code, error.message, error.param) == (code, message, "training_file")


def test_a_validation_file_is_called_one(check: Any) -> None:
    error = job_error(check(b"{", minimum_examples=1), file_id="file-X", param="validation_file")
    assert error is not None
    assert (error.code, error.param) == ("invalid_validation_file", "validation_file")
    assert error.message.startswith("The job failed due to an invalid validation file. Invalid file format. ")
    empty = job_error(check(b"", minimum_examples=1), file_id="file-X", param="validation_file")
    assert empty is not None
    assert empty.message == "Validation file has 0 example(s), but must have at least 1 examples"
    assert job_error(check(raw(GOOD[0]), minimum_examples=1), file_id="file-X", param="validation_file") is None


@pytest.mark.parametrize("code", CATALOGUE)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_sentence_can_be_said(code: str, language: Any) -> None:
    wire = CATALOGUE[code].wire
    for key in [*wire] if not isinstance(wire, str) else ["{key}"]:
        finding = make_finding(code, key=key, value="{seen}", detail="5").at(3, 2)
        for text in (finding.text(language), finding.remedy(language), finding.wire(file_id="file-X")):
            assert text
            assert "None" not in text.replace("message None", "")
        assert any("一" <= char <= "鿿" for char in finding.text(language)) == (language == "zh")


def test_a_report_is_json(check: Any) -> None:
    report = check(raw(chat(USER | {"role": "\x1b[31m"}, ANSWER)) + b"NaN\n")
    notes = json.loads(json.dumps(report.to_dict("en")))
    assert notes["ok"] is False
    assert notes["examples"] == 2
    assert notes["counts"] == {"unrecognized_role": 1, "number_invalid": 1, "too_few_examples": 1}
    assert notes["findings"][0].keys() >= {"code", "severity", "line", "message_index", "key", "seen", "text", "remedy"}


def test_what_is_shown_is_safe_to_print() -> None:
    assert printable("a\x1b[2J\nb\ud83d　c") == "a\ufffd[2J b\ufffd c"
    assert len(printable("x" * 1000)) == 61
    assert printable({"中": 1}) == '{"中": 1}'


anything = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 2.5, "", "text", "assistant", "user", "tool", "{}", "call_1"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from([*MESSAGE_KEYS, "id", "type", "function", "arguments"]), children, max_size=4)
    ),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES)}, optional={key: anything for key in MESSAGE_KEYS if key != "role"}
)
examples = st.fixed_dictionaries(
    {"messages": st.lists(messages | anything, max_size=4)},
    optional={"tools": anything, "functions": anything, "parallel_tool_calls": anything, "prompt": anything},
)


@given(example=examples)
@settings(max_examples=example_count(150))
def test_any_json_under_our_keys_gives_findings_not_a_traceback(example: Any) -> None:
    for finding in check_example(example):
        assert finding.at(1).text("en")
        assert finding.at(1).remedy("zh")
        assert finding.at(1).wire()


@given(content=st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u d8\n\ufeff1eN', max_size=80).map(str.encode))
@settings(max_examples=example_count(150))
def test_any_bytes_give_a_report_not_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    report = check_file(path)
    json.dumps(report.to_dict("zh"), ensure_ascii=False).encode()
    assert not report.ok  # ten good examples do not fit into 200 bytes
    assert job_error(report, file_id="file-X") is not None
    try:
        values = [parse_line(line) for line in read_lines(path)]
    except FindingError:
        return
    assert len(values) == report.examples


class Looker:
    """Notes what it is shown; finds one thing in each example and one in the whole."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def check(self, line_number: int, example_number: int, example: dict[str, Any]) -> list[Finding]:
        self.shown.append((line_number, example_number))
        return [make_finding("unrecognized_key", key="look")]

    def check_columns(self, first_line: int, first_example: int, examples: ChatColumns) -> list[Finding]:
        numbers = [(first_line + index, first_example + index) for index in range(len(examples))]
        return [finding.at(*place) for place in numbers for finding in self.check(*place, {})]

    def finish(self) -> list[Finding]:
        return [make_finding("unrecognized_key", key="finish").at(7)]


def test_quality_is_shown_what_has_no_error_of_form(check: Any) -> None:
    looker = Looker()
    content = b"\n" + raw(GOOD[0], answer(content=None), chat(USER, ANSWER, USER), [1])
    report = check(content, minimum_examples=1, quality=looker)
    assert looker.shown == [(2, 1), (4, 3)]
    assert [(f.line, f.key) for f in report.findings if f.code == "unrecognized_key"] == [
        (2, "look"),
        (4, "look"),
        (7, "finish"),
    ]


@pytest.mark.parametrize("stray", ["", 5, ["a"], {"messages": [1]}, {"messages": [USER]}])
@pytest.mark.parametrize("example", [chat(USER, ANSWER), {"prompt": "x ->", "completion": " y"}])
def test_a_stray_input_makes_no_preference_of_an_example(tmp_path: Path, example: dict[str, Any], stray: Any) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({**example, "input": stray}) + "\n")
    report = check_file(path, minimum_examples=1, quality=QualityRunner())
    (finding,) = [finding for finding in report.findings if finding.key == "input"]
    assert finding.code in ("unrecognized_key", "meaningful_key")
