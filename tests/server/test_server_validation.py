"""Validation errors in OpenAI's words, and malformed bodies: each is a 400."""

import json
import time
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.completions import CreateCompletionRequest
from luthier.types.errors import BadRequestError
from luthier.types.strict_json import MAX_DEPTH, parse_json

MESSAGES = [{"role": "user", "content": "hi"}]
NOT_JSON = "We could not parse the JSON body of your request."
MISSING, VALUE, TYPE = "missing_required_parameter", "invalid_value", "invalid_type"

_CASES: list[tuple[dict[str, Any], str | None, str | None, str]] = [
    (
        {"temperature": 3},
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    ),
    (
        {"presence_penalty": -2.5},
        "presence_penalty",
        "decimal_below_min_value",
        "Invalid 'presence_penalty': decimal below minimum value. Expected a value >= -2, but got -2.5 instead.",
    ),
    (
        {"n": 0},
        "n",
        "integer_below_min_value",
        "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "integer_above_max_value", "<= 20, but got 21 instead."),
    ({"max_completion_tokens": 0}, "max_completion_tokens", "integer_below_min_value", ">= 1, but got 0 instead."),
    ({"logit_bias": {"5": 101}}, "logit_bias.5", "decimal_above_max_value", "<= 100, but got 101 instead."),
    (
        {"max_completion_tokens": "abc"},
        "max_completion_tokens",
        TYPE,
        "Invalid type for 'max_completion_tokens': expected an integer, but got a string instead.",
    ),
    ({"seed": 1.5}, "seed", TYPE, "Invalid type for 'seed': expected an integer, but got a decimal number instead."),
    ({"temperature": "hot"}, "temperature", TYPE, "expected a decimal, but got a string instead."),
    ({"temperature": True}, "temperature", TYPE, "expected a decimal, but got a boolean instead."),
    ({"stream": "yes"}, "stream", TYPE, "expected a boolean, but got a string instead."),
    ({"stop": 5}, "stop", TYPE, "expected one of a string or array, but got an integer instead."),
    ({"stop": ["a", 5]}, "stop[1]", TYPE, "Invalid type for 'stop[1]': expected a string, but got an integer instead."),
    ({"stop": list("abcde")}, "stop", "array_above_max_length", "maximum length 4, but got an array with length 5"),
    (
        {"tool_choice": "bla"},
        "tool_choice",
        VALUE,
        "Invalid value: 'bla'. Supported values are: 'none', 'auto', and 'required'.",
    ),
    ({"tool_choice": 7}, "tool_choice", TYPE, "expected an object, but got an integer instead."),
    ({"function_call": "bla"}, "function_call", VALUE, "Supported values are: 'none' and 'auto'."),
    ({"response_format": {"type": "bogus"}}, "response_format.type", VALUE, "Invalid value: 'bogus'. Supported"),
    ({"response_format": {}}, "response_format.type", MISSING, "Missing required parameter: 'response_format.type'."),
    ({"stream_options": {"bogus": 1}}, "stream_options.bogus", "unknown_parameter", "'stream_options.bogus'."),
    ({"Bogus": 1}, "Bogus", "unknown_parameter", "Unknown parameter: 'Bogus'."),
    ({"model": None}, None, None, "you must provide a model parameter"),
    ({"model": ""}, None, None, "you must provide a model parameter"),
    ({"model": 5}, "model", TYPE, "Invalid type for 'model': expected a string, but got an integer instead."),
    (
        {"messages": []},
        "messages",
        "empty_array",
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    ({"messages": "hi"}, "messages", TYPE, "expected an array, but got a string instead."),
    ({"messages": [7]}, "messages[0]", TYPE, "expected an object, but got an integer instead."),
    ({"messages": None}, "messages", TYPE, "but got null instead."),
    ({"messages": [{"content": "hi"}]}, "messages[0].role", MISSING, "Missing required parameter: 'messages[0].role'."),
    ({"messages": [{"role": "bot", "content": "hi"}]}, "messages[0].role", VALUE, "Invalid value: 'bot'. Supported"),
    (
        {"messages": [*MESSAGES, {"role": "user", "content": 123}]},
        "messages[1].content",
        TYPE,
        "Invalid type for 'messages[1].content': expected one of a string or array, but got an integer instead.",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0].type",
        VALUE,
        "Invalid value: 'image_url'. Supported values are: 'text' and 'refusal'.",
    ),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type", MISSING, "Missing"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", MISSING, "Miss"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", TYPE, "expected an object"),
    ({"messages": [{"role": "user", "content": "x", "Text": 1}]}, "messages[0].Text", "unknown_parameter", "Unknown"),
    ({"messages": [*MESSAGES, {}]}, "messages[1].role", MISSING, "Missing required parameter: 'messages[1].role'."),
    ({"metadata": {"str": 5}}, "metadata.str", TYPE, "expected a string, but got an integer instead."),
    ({"seed": 10**400}, "seed", "integer_above_max_value", "..."),
    ({"temperature": 10**400}, "temperature", TYPE, "expected a decimal"),
    ({"user": "x" * 10, "n": "y" * 5000}, "n", TYPE, "but got a string instead."),
]


@pytest.mark.parametrize(("params", "param", "code", "reason"), _CASES, ids=[str(case[0])[:60] for case in _CASES])
def test_wordings(raw: httpx.Client, params: dict[str, Any], param: str | None, code: str | None, reason: str) -> None:
    answer = raw.post("/chat/completions", json={"model": "gpt-4o-mini", "messages": MESSAGES} | params)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code), error
    assert reason in error["message"]
    assert len(error["message"]) < 400


_FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("path", "params", "param"),
    [
        ("/responses", {"tool_choice": _FUNCTION}, "tool_choice.name"),
        ("/responses", {"tool_choice": {"type": "function", "function": {}}}, "tool_choice.name"),
        (
            "/responses",
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_FUNCTION]}}},
            "tool_choice.mode",
        ),
        ("/responses", {"input": [{"type": "message", "message": {"role": "user"}}]}, "input[0].role"),
        ("/responses/input_tokens", {"tool_choice": _FUNCTION}, "tool_choice.name"),
        ("/chat/completions", {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ("/chat/completions", {"tools": [{"type": "function", "name": "f"}]}, "tools[0].function"),
        ("/chat/completions", {"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        (
            "/chat/completions",
            {"tool_choice": {"type": "function", "function": {}, "name": "f"}},
            "tool_choice.function.name",
        ),
        (
            "/chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.name",
        ),
    ],
)
def test_a_missing_parameter_is_named_where_it_is_missing(
    raw: httpx.Client, path: str, params: dict[str, Any], param: str
) -> None:
    needed = {"messages": MESSAGES} if path == "/chat/completions" else {"input": "hi"}
    error = raw.post(path, json={"model": "gpt-4o-mini"} | needed | params).json()["error"]
    assert (error["param"], error["code"]) == (param, MISSING), error
    assert error["message"] == f"Missing required parameter: '{param}'."


def test_an_unknown_parameter_with_the_name_of_its_parents_parameter(raw: httpx.Client) -> None:
    """`type` is a parameter of the parent, so only the error's input tells which of the two is unknown."""
    body = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "type": "object"}}}
    answer = raw.post("/chat/completions", json={"model": "gpt-4o-mini", "messages": MESSAGES} | body)
    assert answer.json()["error"]["param"] == "response_format.json_schema.type"


def test_many_faults_cost_no_more_than_one(raw: httpx.Client) -> None:
    """Each branch of a union reports each entry; comparing all errors with all would block the server for minutes."""
    parts = [{"role": "user", "content": [7] * 60_000}]
    begun = time.monotonic()
    error = raw.post("/chat/completions", json={"model": "gpt-4o-mini", "messages": parts}).json()["error"]
    assert (error["param"], error["code"]) == ("messages[0].content[0]", TYPE)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("name", ["messages", "tools", "content", "prompt"])
def test_of_a_list_one_fault_is_told(name: str) -> None:
    """A body within the limits may hold millions of invalid entries, and listing all of them takes many seconds."""
    faulty = [7.5] * 100
    params: dict[str, Any] = {"messages": MESSAGES} | {name: faulty}
    if name == "content":
        params = {"messages": [{"role": "user", "content": faulty}]}
    schema = CreateCompletionRequest if name == "prompt" else CreateChatCompletionRequest
    sent = {"model": "x", "prompt": faulty} if name == "prompt" else {"model": "x", **params}
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(sent)
    assert caught.value.error_count() <= 4  # one of each branch of a union


@pytest.mark.parametrize("entry", ["a", [1]])
def test_too_many_prompts_are_told_so(raw: httpx.Client, entry: Any) -> None:
    error = raw.post("/completions", json={"model": "gpt-4o-mini", "prompt": [entry] * 2049}).json()["error"]
    assert (error["param"], error["code"]) == ("prompt", "array_above_max_length")
    assert "maximum length 2048, but got an array with length 2049" in error["message"]


def test_missing_messages(raw: httpx.Client) -> None:
    error = raw.post("/chat/completions", json={"model": "gpt-4o-mini"}).json()["error"]
    assert (error["message"], error["code"]) == ("Missing required parameter: 'messages'.", MISSING)


def _deep(levels: int) -> str:
    return "[" * levels + "]" * levels


_BODIES: list[tuple[bytes, str]] = [
    (b"", NOT_JSON),
    (b"{", NOT_JSON),
    (b"\xff\xfe{}", NOT_JSON),
    (b'{"model": "gpt-4o-mini", "temperature": NaN}', NOT_JSON),
    (b'{"model": "gpt-4o-mini", "temperature": -Infinity}', NOT_JSON),
    (b'{"model": "gpt-4o-mini", "temperature": 1e999}', NOT_JSON),
    (b'{"model": "gpt-4o-mini", "seed": ' + b"9" * 5000 + b"}", NOT_JSON),
    (b'{"model": "gpt-4o-mini", "user": "\xed\xa0\x80"}', NOT_JSON),
    (b"[]", "expected an object, but got an array instead."),
    (b"null", "expected an object, but got null instead."),
    (b'"text"', "expected an object, but got a string instead."),
    (b'{"model": "\\ud800"}', "lone surrogate"),
    (b'{"\\udfff": 1, "model": "gpt-4o-mini"}', "lone surrogate"),
    (f'{{"model": "gpt-4o-mini", "tools": {_deep(100)}}}'.encode(), "deeper than 64 levels"),
    (f'{{"model": "gpt-4o-mini", "tools": {_deep(100_000)}}}'.encode(), NOT_JSON),
    (b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a\x00b"}]}', NOT_JSON),
]


@pytest.mark.parametrize(("body", "reason"), _BODIES, ids=[str(case[0][:50]) for case in _BODIES])
@pytest.mark.parametrize("path", ["/chat/completions", "/fine_tuning/jobs"])
def test_bodies_that_are_none(raw: httpx.Client, path: str, body: bytes, reason: str) -> None:
    answer = raw.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"]
    if body or path == "/chat/completions":
        assert reason in message
    else:
        assert message == "you must provide a request body"


def test_a_job_sent_as_something_else(raw: httpx.Client) -> None:
    answer = raw.post("/fine_tuning/jobs", content=b"model=gpt-4o", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_what_looks_odd_and_is_fine(raw: httpx.Client) -> None:
    """Surrogate pairs, control characters, empty strings, a byte order mark, nested schemas."""
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"properties": schema}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    for content in ("", "😀", "\x00\x07", "\ufeff", "a" * 500, " \n"):
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], "max_tokens": 1}
        for more in ({}, {"tools": tools}):
            text = json.dumps(body | more)
            for sent in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
                answer = raw.post("/chat/completions", content=sent)
                assert answer.status_code == 200, answer.text


def test_depth_is_counted_in_levels() -> None:
    parse_json(_deep(MAX_DEPTH).encode())
    with pytest.raises(BadRequestError):
        parse_json(_deep(MAX_DEPTH + 1).encode())
    wide = json.dumps([[[]]] * 1000)
    assert parse_json(wide.encode()) == json.loads(wide)
    assert parse_json(b'"\\ud83d\\ude00 \\\\ud800"') == "😀 \\ud800"


@pytest.mark.parametrize(
    ("hyperparameters", "param", "number"),
    [
        ({"n_epochs": "3"}, "hyperparameters.n_epochs", "an integer"),
        ({"batch_size": "8"}, "hyperparameters.batch_size", "an integer"),
        ({"learning_rate_multiplier": "0.5"}, "hyperparameters.learning_rate_multiplier", "a decimal"),
    ],
)
def test_a_number_in_a_string(raw: httpx.Client, hyperparameters: Any, param: str, number: str) -> None:
    body = {"model": "gpt-4o-mini", "training_file": "file-x", "hyperparameters": hyperparameters}
    error = raw.post("/fine_tuning/jobs", json=body).json()["error"]
    assert error["param"] == param
    assert "'auto'" in error["message"]
    assert number in error["message"]


@pytest.mark.parametrize("value", ["maybe", "", "2"])
@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("GET", "/responses/resp_x", "stream"),
        ("GET", "/luthier/files/file-x/examples", "findings_only"),
        ("POST", "/luthier/files/file-x/repair", "preview"),
        ("DELETE", "/luthier/jobs/ftjob-x", "models"),
    ],
)
def test_a_boolean_in_a_query(raw: httpx.Client, method: str, path: str, param: str, value: str) -> None:
    error = raw.request(method, path, params={param: value}).json()["error"]
    assert (error["param"], error["code"]) == (param, TYPE)
    assert error["message"] == f"Invalid type for '{param}': expected a boolean, but got a string instead."


@pytest.mark.parametrize("after", ["unknown", ""])
@pytest.mark.parametrize("path", ["/files", "/fine_tuning/jobs", "/batches", "/chat/completions", "/evaluations"])
def test_a_cursor_that_does_not_exist_is_no_end_of_a_list(raw: httpx.Client, path: str, after: str) -> None:
    answer = raw.get(path, params={"after": after})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("after", "invalid_value")
