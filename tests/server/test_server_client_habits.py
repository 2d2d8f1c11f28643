"""Habits of clients that have broken other servers, one request each."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "你好 🎉"}],
    "max_tokens": 1,
}
LIGHT = {"type": "function", "function": {"name": "set_light", "parameters": {"type": "object", "properties": {}}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "set_light", "arguments": "{}"}}


def chat(raw: httpx.Client, **changes: Any) -> httpx.Response:
    return raw.post("/chat/completions", json=CHAT | changes)


def test_a_slash_behind_a_path_is_redirected_with_the_body(raw: httpx.Client) -> None:
    answer = raw.post("/chat/completions/", json=CHAT)
    assert answer.status_code == 307
    assert answer.headers["location"].endswith("/v1/chat/completions")
    assert raw.post("/chat/completions/", json=CHAT, follow_redirects=True).json()["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("path", ["/models/ft%3Agpt-4o-mini%3Aacme%3A%3Ax1", "/models/ft:gpt-4o-mini:acme::x1"])
def test_colons_of_a_name_may_be_escaped(raw: httpx.Client, path: str) -> None:
    answer = raw.get(path)
    assert answer.status_code == 404
    assert "ft:gpt-4o-mini:acme::x1" in answer.json()["error"]["message"]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain; charset=utf-8", ""])
def test_a_chat_is_read_whatever_its_body_is_called(raw: httpx.Client, content_type: str) -> None:
    request = raw.build_request("POST", "/chat/completions", json=CHAT)
    request.headers["content-type"] = content_type
    assert raw.send(request).status_code == 200


def test_functions_and_a_response_format_together(raw: httpx.Client) -> None:
    message = chat(raw, tools=[LIGHT], response_format=FORMAT, max_tokens=40).json()["choices"][0]["message"]
    assert message.get("tool_calls") or message["content"].startswith("{")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"tool_calls": [CALL | {"index": 0}]}, "messages[1].tool_calls[0].index"),
        ({"content": "x", "parsed": {}}, "messages[1].parsed"),
        ({"tool_calls": [CALL | {"function": CALL["function"] | {"parsed_arguments": {}}}]}, None),
    ],
)
def test_members_of_a_clients_own_objects_are_named(
    raw: httpx.Client, message: dict[str, Any], param: str | None
) -> None:
    answer = chat(raw, messages=[*CHAT["messages"], {"role": "assistant"} | message])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == (param or "messages[1].tool_calls[0].function.parsed_arguments")


def form(disposition: str) -> Iterator[bytes]:
    """A form in small chunks, as clients send it that know no length."""
    part = "--b\r\nContent-Disposition: form-data; name="
    text = f'{part}"file"; {disposition}\r\n\r\n{{}}\n\r\n{part}"purpose"\r\n\r\nfine-tune\r\n--b--\r\n'.encode()
    yield from (text[start : start + 7] for start in range(0, len(text), 7))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("filename*=UTF-8''%E8%AE%AD%E7%BB%83.jsonl", "训练.jsonl"),
        ("filename=\"__.jsonl\"; filename*=utf-8''%E6%95%B0%E6%8D%AE.jsonl", "数据.jsonl"),
        ('filename="🎉 v1.jsonl"', "🎉 v1.jsonl"),
    ],
)
def test_an_upload_in_chunks_with_a_name_of_any_script(raw: httpx.Client, disposition: str, name: str) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    file = raw.post("/files", content=form(disposition), headers=headers).json()
    assert (file["filename"], file["bytes"]) == (name, 3)
    answer = raw.get(f"/files/{file['id']}/content")
    written = httpx.QueryParams({"name": name})
    assert (
        f"filename*=utf-8''{str(written).removeprefix('name=').replace('+', '%20')}"
        in (answer.headers["content-disposition"])
    )


def test_a_container_is_told_how_to_reach_the_server(raw: httpx.Client) -> None:
    answer = raw.get("/models", headers={"host": "host.docker.internal:8000"})
    assert answer.status_code == 403
    assert "--api-keys" in answer.json()["error"]["message"]
