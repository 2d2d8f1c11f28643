"""`docs/reference/compatibility.md` is made from both OpenAPI documents; this file, run as a program, makes it anew."""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

import httpx
import pytest
from openai import OpenAI

from conformance.compare import differences
from conformance.extract import EXTRACT
from conformance.test_official_suites import AREAS, SKIPPED
from luthier.catalogue import Catalogue
from luthier.runtime import LuthierServer
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store
from through_api import upload

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md"
COMMAND = "python tests/conformance/test_compatibility_page.py"
# Where (method and path, then the place, as regular expressions), and why. Each one must be needed.
REASONS = [
    (
        "POST /chat/completions",
        r"messages\[\] \(role=user\)\.content\[\] \(type=(image_url|input_audio|file)\)",
        "Models here read text.",
    ),
    (
        "POST /chat/completions",
        r".*\(type=custom\)",
        "Custom tools take free text; the models here are taught calls with JSON arguments.",
    ),
    (
        "POST /chat/completions",
        r"seed = -?9223372036854776000",
        "A 64-bit integer, as OpenAI's text says; the bounds of its schema are rounded to beyond that.",
    ),
    (
        "POST /chat/completions",
        r"(modalities\[\]|verbosity) = .*",
        "The models here write plain text of one kind; the value that asks for just that is accepted.",
    ),
    (
        "POST /chat/completions",
        r"web_search_options|audio|moderation",
        "Not available here, and refused by name.",
    ),
    (
        "POST /chat/completions",
        r"tool_choice \(type=allowed_tools\)",
        "Accepted with tools that are named as functions; OpenAI's schema leaves open what they are.",
    ),
    (
        "GET /chat/completions/{completion_id}/messages",
        r"answer: data\[\]\.(tool_calls\[\]|function_call|content_parts\[\])\..*",
        "Answered as they were sent, with all of their fields; the schema says no more than that.",
    ),
    (
        "POST /files",
        r"expires_after",
        "In a form its two fields are `expires_after[anchor]` and `expires_after[seconds]`, as OpenAI's clients send "
        "them.",
    ),
    (
        "GET /files/{file_id}/content",
        r"answer: as application/json",
        "The bytes of the file, as `application/octet-stream`; OpenAI answers so too.",
    ),
    (
        "POST /fine_tuning/(alpha/graders/.*|jobs)",
        r".*\(type=score_model\)\.range\[\]",
        "Two numbers, as OpenAI's text says; its schema has the bounds in the wrong place.",
    ),
    (
        "POST /moderations",
        r"answer: .*",
        "Passed on as it comes from the service that the operator named; without one the answer is status 404.",
    ),
    (
        "POST /fine_tuning/alpha/graders/validate",
        r"answer: grader\..*",
        "The grader is answered as it was sent, with all of its fields; the schema says no more than that.",
    ),
]
HEAD = f"""# Compatibility with OpenAI's API

Made by `{COMMAND}`; change it there.

## The clients' own tests

OpenAI's Python client comes with tests that run against any server. `make test` runs them against `luthier serve`:
those of openai 3.57.0 and of 1.109.1, whose users are many. What passes, by area:

| area | openai 3.57.0 | openai 1.109.1 |
|---|---|---|
"""
BETWEEN = f"""
The {SKIPPED} skipped ones, of files, skip themselves: they need a mock of HTTP that one of their HTTP clients does not
know.

The tests were written for a mock that checks types alone: they name ids that nobody made and send a few values that no
server can obey. A proxy in front of the server gives them ids that exist and values that are legal. Every change it
makes is a line of `tests/conformance/mapping.py`, and is printed with the result, with how often it was made. A line
that no test needs any more makes the run fail.

## Field by field

OpenAI's published OpenAPI file is compared with the server's `/openapi.json`. For every operation that both have, each
query parameter and each field of a request is tried, with every word of an enum, every branch of a union and both ends
of every range; of answers, each required field must be there. These are the differences, all of them:

| operation | where | why |
|---|---|---|
"""
TAIL = """
## Understood and refused

These the document accepts, since a client may send them, and the server answers with status 400 and says why:

| operation | sent | why |
|---|---|---|
"""
# Operation, a body (FILE: a training file that exists), the `param` of the error, and why.
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "/completions",
        {"model": "gpt-4o-mini", "prompt": "a", "suffix": "b"},
        "suffix",
        "Models here continue a text and were not taught to fill a gap.",
    ),
    (
        "/chat/completions",
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "a"}],
            "functions": [{"name": "f"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
        "functions",
        "The old form of `tools`; together they contradict one another.",
    ),
    (
        "/batches",
        {"input_file_id": "FILE", "endpoint": "/v1/videos", "completion_window": "24h"},
        "endpoint",
        "Batches are of the endpoints that are here.",
    ),
]


def page() -> str:
    """The whole page. Raises AssertionError for a difference without a reason, or the other way round."""
    needed: dict[tuple[str, str], list[str]] = {}
    used = set()
    for operation, where in differences(json.loads(EXTRACT.read_text(encoding="utf-8")), document()):
        reason = next((row for row in REASONS if re.fullmatch(row[0], operation) and re.fullmatch(row[1], where)), None)
        assert reason, f"{operation}: {where}: either accept or answer it, or say in REASONS why not"
        used.add(reason)
        needed.setdefault((operation, reason[2]), []).append(f"`{where.removesuffix(' ')}`")
    assert used == set(REASONS), f"no longer needed: {set(REASONS) - used}"
    rows = [f"| `{of}` | {', '.join(dict.fromkeys(places))} | {why} |\n" for (of, why), places in needed.items()]
    refused = [f"| `POST {path}` | `{param}` | {why} |\n" for path, _, param, why in REFUSED]
    return "".join([HEAD, *_scores(), BETWEEN, *rows, TAIL, *refused])


def _scores() -> Iterator[str]:
    total = {"3.57.0": 0, "1.109.1": 0}
    for area, _, passed in AREAS:
        skipped = f", {SKIPPED} skipped" if area == "files" else ""
        yield f"| {area} | {passed['3.57.0']}{skipped} | {passed['1.109.1']}{skipped} |\n"
        total = {version: count + passed[version] for version, count in total.items()}
    yield f"| all | {total['3.57.0']}, {SKIPPED} skipped | {total['1.109.1']}, {SKIPPED} skipped |\n"


def document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        made: dict[str, Any] = create_app(Settings(data=Path(folder)), store, Catalogue(Path(folder))).openapi()
        store.close()
    return made


def test_the_page_is_what_the_documents_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"run: {COMMAND}"


@pytest.mark.parametrize(("path", "body", "param", "_why"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_refused_is_refused(
    client: OpenAI, server: LuthierServer, path: str, body: dict[str, Any], param: str, _why: str
) -> None:
    given = {key: upload(client) if value == "FILE" else value for key, value in body.items()}
    answer = httpx.post(f"{server.endpoint.base_url}{path}", json=given)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
