"""JSON bodies: parsed off the event loop, within limits on what they hold rather than on their bytes alone."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.server.http import json_body
from luthier.server.http.json_body import MAX_JSON_MEMBERS, MAX_JSON_VALUES, parse_json_body
from luthier.types.errors import PayloadTooLargeError

_LEAVES = st.none() | st.booleans() | st.integers() | st.text(alphabet='a,:[{"\\}] 你', max_size=8)
_DOCUMENTS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='k,:"\\', max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def _members(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return sum(map(_members, value)) if isinstance(value, list) else 0


@given(_DOCUMENTS)
def test_members_are_counted_outside_of_strings_only(document: Any) -> None:
    characters = json_body._outside_strings(json.dumps(document).encode())
    assert int((characters == ord(":")).sum()) == _members(document)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * MAX_JSON_VALUES + b"1]",
        b"[" + b"1," * (MAX_JSON_VALUES + 1) + b"1]",
        b"[" + b'{"a":1},' * (MAX_JSON_MEMBERS + 1) + b"1]",
        b"[" + b"{}," * MAX_JSON_VALUES + b"1]",
        b"{" + b",".join(b'"k%d":""' % n for n in range(MAX_JSON_MEMBERS + 1)) + b"}",
    ],
    ids=["empty lists", "numbers", "small objects", "empty objects", "one wide object"],
)
def test_more_values_than_a_request_needs_are_refused_before_they_are_parsed(body: bytes) -> None:
    with pytest.raises(PayloadTooLargeError, match="400,000 values"):
        asyncio.run(parse_json_body(body))


@pytest.mark.parametrize("text", ["a,b:[{" * MAX_JSON_VALUES, '\\",:' * MAX_JSON_VALUES])
def test_punctuation_in_a_text_is_text(text: str) -> None:
    assert asyncio.run(parse_json_body(json.dumps({"content": text}).encode())) == {"content": text}


def test_as_many_token_ids_as_openai_takes_are_taken() -> None:
    ids = [[7] * 2048] * 146
    assert asyncio.run(parse_json_body(json.dumps(ids).encode())) == ids


def test_a_body_with_too_many_values_is_413(raw: httpx.Client) -> None:
    body = b'{"model": "gpt-4o-mini", "messages": [' + b"[]," * MAX_JSON_VALUES + b"1]}"
    response = raw.post("/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "400,000 values and 30,000 members" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value", "maximum"),
    [
        ("messages", [{"role": "user", "content": "hi"}] * 2049, 2048),
        ("tools", [{"type": "function", "function": {"name": "f"}}] * 129, 128),
        ("logit_bias", {str(token): 1 for token in range(1025)}, 1024),
    ],
)
def test_lists_of_a_chat_have_openais_maximum_lengths(raw: httpx.Client, field: str, value: Any, maximum: int) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], field: value}
    error = raw.post("/chat/completions", json=body).json()["error"]
    assert error["param"] == field
    assert f"maximum length {maximum}" in error["message"]
