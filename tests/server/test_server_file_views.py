"""`/v1/luthier/files`: a training file looked at, estimated, split and repaired over the API."""

import json
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from serving import Bare

from luthier.catalogue.rates import Rate, add_rate, rate_key
from luthier.server.routes import file_views
from luthier.types.common import now

GOOD = [
    {
        "messages": [
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": f"answer {n} {n * 7}"},
        ]
    }
    for n in range(12)
]
NO_ANSWER = {"messages": [{"role": "user", "content": "nobody answers"}]}


def _upload(client: OpenAI, *lines: object) -> str:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return client.files.create(file=("train.jsonl", text.encode()), purpose="fine-tune").id


@pytest.fixture(name="http", scope="module")
def _http(bare: Bare) -> httpx.Client:
    return bare.http()


def test_a_report_without_a_job_in_both_languages(http: httpx.Client, bare_client: OpenAI) -> None:
    file_id = _upload(bare_client, *GOOD, NO_ANSWER)
    report = http.get(f"/luthier/files/{file_id}/report").json()
    assert (report["ok"], report["method"], report["examples"]) == (False, "supervised", 13)
    (error,) = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert error["line"] == 13
    chinese = http.get(f"/luthier/files/{file_id}/report", params={"lang": "zh"}).json()
    assert chinese["findings"][0]["text"].startswith("第 13 行")
    assert bare_client.get(f"/files/{file_id}/report", cast_to=httpx.Response).json()["examples"] == 13


def test_lines_with_findings_and_trained_tokens(http: httpx.Client, bare_client: OpenAI) -> None:
    file_id = _upload(bare_client, *GOOD, NO_ANSWER, "no JSON <b>")
    path = f"/luthier/files/{file_id}/examples"
    page = http.get(path, params={"offset": 10, "limit": 4, "model": "gpt-4o-mini"}).json()
    assert (page["total"], [view["line"] for view in page["data"]]) == (14, [11, 12, 13, 14])
    first, _, unanswered, broken = page["data"]
    (segments,) = first["segments"]
    assert "".join(part["text"] for part in segments if part["trained"]).startswith("answer 10 70")
    assert "question 10" in "".join(part["text"] for part in segments if not part["trained"])
    assert (unanswered["segments"], unanswered["findings"][0]["severity"]) == (None, "error")
    assert unanswered["problem"]
    assert (broken["example"], broken["raw"]) == (None, "no JSON <b>")
    only = http.get(path, params={"findings_only": "true", "limit": 5}).json()
    assert [view["line"] for view in only["data"]] == [13, 14]
    assert only["data"][0]["segments"] is None
    report = http.get(f"/luthier/files/{file_id}/report", params={"lang": "zh"}).json()
    for view in only["data"]:
        code = view["findings"][0]["code"]
        lines = [match["line"] for match in http.get(path, params={"code": code}).json()["data"]]
        assert lines == [view["line"]]
        assert report["names"][code].endswith(f"（{code}）")


def test_both_answers_of_a_preference_pair(http: httpx.Client, bare_client: OpenAI) -> None:
    pair = {
        "input": {"messages": [{"role": "user", "content": "hello"}]},
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    file_id = _upload(bare_client, pair)
    assert http.get(f"/luthier/files/{file_id}/report").json()["method"] == "dpo"
    (view,) = http.get(f"/luthier/files/{file_id}/examples", params={"model": "gpt-4o-mini"}).json()["data"]
    trained = ["".join(part["text"] for part in answer if part["trained"]) for answer in view["segments"]]
    assert [text[:4] for text in trained] == ["good", "bad<"]


def test_an_estimate_needs_a_measured_rate_for_its_duration(
    bare: Bare,
    http: httpx.Client,
    bare_client: OpenAI,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bare.app.state.luthier.loader.catalogue, "cache", tmp_path)
    file_id = _upload(bare_client, *GOOD)
    query = {"model": "gpt-4o-mini", "n_epochs": 2}
    estimate = http.get(f"/luthier/files/{file_id}/estimate", params=query).json()
    assert (estimate["examples"], estimate["n_epochs"], estimate["seconds"]) == (12, 2, None)
    assert estimate["trained_tokens"] == 2 * estimate["tokens"] > 0
    add_rate(tmp_path, rate_key(tiny_base, "cpu", "float32", 2, full=False), Rate(100.0, 9, now(), None, "job"))
    estimate = http.get(f"/luthier/files/{file_id}/estimate", params=query).json()
    assert estimate["seconds"] == pytest.approx(estimate["trained_tokens"] / 100)
    assert http.get(f"/luthier/files/{file_id}/estimate", params={"model": "no-such"}).status_code == 404


def test_an_estimate_counts_openais_epochs_in_its_price(http: httpx.Client, bare_client: OpenAI) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    messages = [{"role": "user", "content": "Call f."}, {"role": "assistant", "tool_calls": [call]}]
    file_id = _upload(bare_client, *[{"messages": messages, "tools": tools}] * 40)
    estimate = http.get(f"/luthier/files/{file_id}/estimate", params={"model": "gpt-4o-mini"}).json()
    assert (estimate["n_epochs"], estimate["openai_n_epochs"]) == (5, 3)
    assert estimate["openai_usd"]["gpt-4o-mini"] == pytest.approx(3 * estimate["tokens"] * 3 / 1e6)


def test_a_split_keeps_every_example_once(http: httpx.Client, bare_client: OpenAI) -> None:
    parts = http.post(f"/luthier/files/{_upload(bare_client, *GOOD)}/split", json={"validation": 0.25}).json()
    contents = [bare_client.files.content(parts[side]["id"]).text for side in ("training_file", "validation_file")]
    lines = [json.loads(line) for content in contents for line in content.splitlines()]
    assert sorted(map(json.dumps, lines)) == sorted(map(json.dumps, GOOD))
    assert (parts["training_examples"], parts["validation_examples"]) == (9, 3)
    assert parts["training_file"]["filename"] == "train.train.jsonl"
    refused = http.post(f"/luthier/files/{_upload(bare_client, GOOD[0])}/split", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "cannot_split")


def test_a_repaired_copy_leaves_out_what_cannot_be_repaired(http: httpx.Client, bare_client: OpenAI) -> None:
    trailing = json.dumps(GOOD[1])[:-1] + ",}"
    path = f"/luthier/files/{_upload(bare_client, GOOD[0], trailing, NO_ANSWER)}/repair"
    before = len(bare_client.files.list(limit=1000).data)
    preview = http.post(path, params={"preview": True, "lang": "zh"}).json()
    assert (preview["file"], preview["examples"], preview["rejected"]) == (None, 2, 1)
    assert (preview["repairs"][0]["before"], json.loads(preview["repairs"][0]["after"])) == (trailing, GOOD[1])
    assert len(bare_client.files.list(limit=1000).data) == before
    repaired = http.post(path).json()
    assert (repaired["repaired"], repaired["rejected"]) == (1, 1)
    lines = bare_client.files.content(repaired["file"]["id"]).text.splitlines()
    assert [json.loads(line) for line in lines] == GOOD[:2]
    assert http.post(f"/luthier/files/{_upload(bare_client, NO_ANSWER)}/repair").json()["file"] is None


def test_large_files_and_those_of_another_project(
    keyed: Bare, a: OpenAI, http: httpx.Client, bare_client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = _upload(a, *GOOD)
    with keyed.http() as other:
        for key, status in (("sk-key-of-a", 200), ("sk-key-of-b==", 404)):
            headers = {"Authorization": f"Bearer {key}"}
            assert other.get(f"/luthier/files/{file_id}/report", headers=headers).status_code == status
            assert other.post(f"/luthier/files/{file_id}/split", json={}, headers=headers).status_code == status
    monkeypatch.setattr(file_views, "MAX_BYTES", 100)
    assert http.get(f"/luthier/files/{_upload(bare_client, *GOOD)}/report").status_code == 413
