"""`/v1/luthier/jobs`: names, filters, groups, why a job waits, and deletion."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from serving import Bare, make_model

from luthier.store import Event


def _job(client: OpenAI, **fields: Any) -> str:
    file = client.files.create(file=("train.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    return client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id, **fields).id


def _call(bare: Bare, method: str, path: str, key: str = "none-needed", **arguments: Any) -> httpx.Response:
    with bare.http() as http:
        headers = {"Authorization": f"Bearer {key}"}
        return http.request(method, f"/luthier/jobs{path}", headers=headers, **arguments)


def _end(bare: Bare, job_id: str, status: Any = "succeeded", **values: Any) -> None:
    bare.store.jobs.transition(job_id, ("validating_files",), status, Event("The job is over"), **values)


def test_a_name_is_for_display_and_can_be_taken_away(bare: Bare, bare_client: OpenAI) -> None:
    job_id = _job(bare_client, suffix="demo")
    renamed = _call(bare, "POST", f"/{job_id}", json={"name": "天气 <b>3</b>"}).json()
    assert (renamed["name"], renamed["job"]["user_provided_suffix"]) == ("天气 <b>3</b>", "demo")
    assert [view["id"] for view in _call(bare, "GET", "", params={"search": "天气 <B>"}).json()["data"]] == [job_id]
    assert _call(bare, "POST", f"/{job_id}", json={"name": None}).json()["name"] is None
    for name in ("", "x" * 121, 3):
        assert _call(bare, "POST", f"/{job_id}", json={"name": name}).status_code == 400
    assert _call(bare, "POST", "/ftjob-none", json={"name": "x"}).status_code == 404


def test_filters_and_groups_cover_all_jobs_and_not_a_page(bare: Bare, bare_client: OpenAI) -> None:
    teams = ["red", "red", "blue", None]
    ids = [_job(bare_client, metadata={"crew": team} if team else {"other": "50%_"}) for team in teams]
    _end(bare, ids[1], "failed")

    def listed(**query: Any) -> list[str]:
        output = [view["id"] for view in _call(bare, "GET", "", params={"limit": 100, **query}).json()["data"]]
        return [job_id for job_id in ids if job_id in output]

    assert listed(**{"metadata[crew]": "red"}) == ids[:2]
    assert listed(without="crew") == ids[3:]
    assert listed(search="crew") == ids[:3]
    assert listed(search="50%_") == ids[3:]
    assert listed(search="BLUE", status="validating_files") == ids[2:3]
    assert listed(status=["failed", "succeeded"]) == ids[1:2]
    assert _call(bare, "GET", "", params={"status": "lost"}).status_code == 400
    groups = _call(bare, "GET", "/groups", params={"by": "crew"}).json()
    counted = {group["value"]: group for group in groups["data"]}
    assert counted["red"] == {"value": "red", "jobs": 2, "by_status": {"validating_files": 1, "failed": 1}}
    assert counted["blue"]["jobs"] == 1
    assert counted[None]["jobs"] >= 1
    assert {"crew", "other"} <= set(groups["keys"])
    assert _call(bare, "GET", "/groups").json()["data"] == []
    for job_id in ids:
        bare_client.fine_tuning.jobs.cancel(job_id) if job_id != ids[1] else None


def test_a_waiting_job_says_what_it_waits_for(keyed: Bare, a: OpenAI, b: OpenAI) -> None:
    theirs, mine = _job(b), _job(a)
    place = _call(keyed, "GET", f"/{mine}", "sk-key-of-a").json()["queue"]
    assert place["reason"] == "jobs_ahead"
    assert place["ahead"] >= 1
    assert theirs not in place["jobs_ahead"]
    second = _call(keyed, "GET", f"/{_job(b)}", "sk-key-of-b==").json()["queue"]
    assert theirs in second["jobs_ahead"]


def test_a_job_is_deleted_with_its_own_alone(bare: Bare, bare_client: OpenAI, tmp_path: Path) -> None:
    name = make_model(bare, bare_client, "ft:gpt-4o-mini:personal::deleted1", tmp_path / "adapter")
    model = bare.store.models.find(name)
    assert model is not None
    job = bare_client.fine_tuning.jobs.retrieve(model.job_id)
    path = f"/{job.id}"
    assert _call(bare, "DELETE", path, params={"models": True}).json()["error"]["code"] == "job_not_finished"
    results = bare.store.files.create("results.csv", "fine-tune-results", lambda out: out.write(b"step\n"))
    _end(bare, job.id, result_files=[results.id])
    assert _call(bare, "DELETE", path).json()["error"]["code"] == "job_has_models"
    continued = _job(bare_client)
    bare.store.jobs.record(continued, parent=name)
    assert _call(bare, "DELETE", path, params={"models": True}).json()["error"]["code"] == "model_in_use"
    assert model.adapter.is_dir()
    _end(bare, continued, "cancelled")
    deleted = _call(bare, "DELETE", path, params={"models": True}).json()
    assert (deleted["deleted"], deleted["models"]) == (True, [name])
    assert not model.adapter.exists()
    assert _call(bare, "GET", path).status_code == 404
    assert bare.store.files.retrieve(job.training_file)
    with pytest.raises(Exception, match="No such File"):
        bare.store.files.retrieve(results.id)
    assert _call(bare, "DELETE", path).status_code == 404


def test_a_job_whose_trainer_is_being_stopped_stays(bare: Bare, bare_client: OpenAI) -> None:
    claimed = bare.store.jobs.claim("worker-of-a-test", "validating_files", job_id=_job(bare_client))
    assert claimed is not None
    bare_client.fine_tuning.jobs.cancel(claimed.id)
    assert "Delete the job again" in _call(bare, "DELETE", f"/{claimed.id}").json()["error"]["message"]
    assert bare_client.fine_tuning.jobs.list_events(claimed.id).data
    bare.store.jobs.queue.release(claimed.id, claimed.owner)
    assert _call(bare, "DELETE", f"/{claimed.id}").status_code == 200


def test_another_projects_jobs_can_be_neither_renamed_nor_deleted(keyed: Bare, a: OpenAI) -> None:
    job_id = _job(a)
    assert _call(keyed, "POST", f"/{job_id}", "sk-key-of-b==", json={"name": "x"}).status_code == 404
    assert _call(keyed, "DELETE", f"/{job_id}", "sk-key-of-b==").status_code == 404
    assert _call(keyed, "GET", "/groups", "sk-key-of-b==").json()["keys"] == []
